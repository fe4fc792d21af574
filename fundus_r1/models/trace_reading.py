"""Reading a trace: its sentences, what each states, which labels it names, which modality.

A sentence that connects or concludes ("this is characteristic of ...", "therefore ...") speaks
about a label; there, a label's name is no statement of a finding of the same name (drusen, macular
hole). Every other sentence is an observation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from fundus_r1.ontology.findings import mentions
from fundus_r1.ontology.labels import LABELS, canonical_label
from fundus_r1.ontology.wording import bounded, phrase_pattern
from fundus_r1.rows import Modality

_END = re.compile(r"(?<=[.!?;])\s+|\n+")
_LINK = re.compile(
    r"\b(?:characteristic|typical|consistent with|compatible with|in keeping with|indicat\w+|suggest\w*"
    r"|support\w*|decisive|hallmark|defin\w+|diagnos\w+|points? to|pointing to|criteri\w+|expected"
    r"|evidence (?:of|for))\b",
    re.IGNORECASE,
)
_CONCLUDE = re.compile(
    r"\b(?:therefore|thus|hence|so the|conclu\w+|answer|final|interpreted as|follows)\b", re.IGNORECASE
)
_CONTRAST = re.compile(
    r"\b(?:compared (?:with|to)|rather than|unlike|than|beyond|instead of|not|without|exclud\w+"
    r"|rul\w+ out|against)\W+(?:\w+\W+){0,3}$",
    re.IGNORECASE,
)
_MODALITIES = {
    Modality.UWF: r"\bultra[- ]?wide[- ]?field(?:\W+(?:colou?r\W+)?(?:fundus|retinal)\W+\w+)?|\bUWF\b",
    Modality.OCT: r"\bOCT\b|\boptical coherence tomograph\w+|\bB-?scans?\b|\btomogra(?:m|ph)\w*",
    Modality.CFP: r"\bCFP\b|\bcolou?r fundus\b|\bfundus photo\w*|\bretinal photo\w*",
}


@dataclass(frozen=True)
class Naming:
    """A label named in a sentence."""

    label: str
    start: int
    end: int
    contrasted: bool
    """Named only to set it apart: "compared with mild NPDR"."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of a trace."""

    text: str
    links: bool
    """Connects something to a label."""
    concludes: bool

    @property
    def observes(self) -> bool:
        """States what is in the image, and no more."""
        return not (self.links or self.concludes)

    def statements(self) -> Iterator[tuple[str, bool]]:
        """(finding, negated) for each finding that it states."""
        text = self.text
        if not self.observes:
            for naming in reversed(label_namings(text)):
                text = f"{text[: naming.start]}this{text[naming.end :]}"
        for mention in mentions(text):
            yield mention.key, mention.negated


def sentences(trace: str) -> list[Sentence]:
    """The sentences of a trace, in order."""
    parts = [part.strip() for part in _END.split(trace)]
    return [
        Sentence(part, links=bool(_LINK.search(part)), concludes=bool(_CONCLUDE.search(part)))
        for part in parts
        if part
    ]


@cache
def _label_pattern() -> re.Pattern[str]:
    phrases = {phrase for label in LABELS.values() for phrase in (label.name, *label.synonyms)}
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return bounded("|".join(phrase_pattern(phrase) for phrase in longest_first))


def label_namings(text: str) -> list[Naming]:
    """All labels that a text names, longest names first where they overlap, by position."""
    found = []
    for match in _label_pattern().finditer(text):
        if label := canonical_label(match[0]):
            contrasted = bool(_CONTRAST.search(text[: match.start()]))
            found.append(Naming(label, match.start(), match.end(), contrasted))
    return found


def modalities_named(text: str) -> set[Modality]:
    """Imaging modalities that a text names. "Fundus image" alone names none: it fits all three."""
    found = set()
    for modality, pattern in _MODALITIES.items():
        text, hits = re.subn(pattern, " ", text, flags=re.IGNORECASE)
        if hits:
            found.add(modality)
    return found


@dataclass(frozen=True)
class Stated:
    """What a whole trace states about findings."""

    present: frozenset[str]
    absent: frozenset[str]
    repeated: frozenset[str]
    """Stated as present more than once in sentences that only observe."""


def stated(trace: str) -> Stated:
    """The findings that a trace states, each once, as present or absent."""
    present: set[str] = set()
    absent: set[str] = set()
    observed: list[str] = []
    for sentence in sentences(trace):
        for key, negated in sentence.statements():
            (absent if negated else present).add(key)
            if sentence.observes and not negated:
                observed.append(key)
    repeated = {key for key in observed if observed.count(key) > 1}
    return Stated(frozenset(present), frozenset(absent), frozenset(repeated))
