"""Which words stand for a label and a modality, to search with and to tell what a text is about."""

from __future__ import annotations

import re
from functools import cache

from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.wording import is_abbreviation
from fundus_r1.retrieval.words import tokens
from fundus_r1.rows import Modality

SPELLED_OUT = 2
"""Spelled-out names of a label that are searched for, beside the name that answers carry."""
MODALITY_WORDS: dict[Modality, tuple[str, ...]] = {
    Modality.CFP: ("fundus photography", "fundus photograph", "ophthalmoscopy"),
    Modality.OCT: ("optical coherence tomography", "OCT"),
    Modality.UWF: ("ultra-widefield", "ultrawide field", "widefield"),
}
"""What articles call a modality."""
_SHARED = re.compile(
    r"grade|stage|mild|moderate|severe|early|late|no|not|non|without|absence|apparent|visible|sign|due|to|eye|"
    r"ocular|retina|retinal|disease|disorder|fundus|macula|macular|image|picture|change|central|\d+"
)
"""Words in the names of labels that many labels share."""


def phrasings(label: str) -> tuple[str, ...]:
    """Names of a label to search for: spelled-out ones first, and the name that answers carry.

    Args:
        label: key of `LABELS`.
    """
    row = LABELS[label]
    names = [name for name in (row.name, *row.synonyms) if re.fullmatch(r"[^\W_](?:[\w\s'-]*\w)?", name)]
    # "Normal" or "Drusen" alone would be good names, but a word of few letters finds anything.
    plain = [name for name in names if not any(is_abbreviation(word) for word in name.split())]
    telling = [name for name in plain if len(name.split()) > 1 or len(name) > 6] or plain or [row.name]
    return tuple(dict.fromkeys([*telling[:SPELLED_OUT], row.name]))


def broader(label: str) -> str:
    """What a label is a kind of, by its words: the last two of "moderate nonproliferative diabetic
    retinopathy". For a wiki that has one page on all grades.

    Args:
        label: key of `LABELS`.
    """
    return " ".join(phrasings(label)[0].split()[-2:])


@cache
def telling_words(label: str) -> tuple[frozenset[str], ...]:
    """For each name of a label the words by which a text on it is known.

    Shared words do not count where two others are left: what is said of "diabetic retinopathy"
    concerns each of its grades, but "macular neovascularization" is not any neovascularization.
    """
    row = LABELS[label]
    found: dict[frozenset[str], None] = {}
    for name in (row.name, *row.synonyms):
        words = frozenset(tokens(name))
        telling = frozenset(word for word in words if not _SHARED.fullmatch(word))
        if words:
            found[telling if len(telling) > 1 else words] = None
    return tuple(found)


def is_about(text: str, label: str) -> bool:
    """Whether a text has to do with a label: the telling words of one of its names stand in it.

    Args:
        text: title, heading and text of a passage.
        label: key of `LABELS`.
    """
    found = frozenset(tokens(text))
    return any(words <= found for words in telling_words(label))
