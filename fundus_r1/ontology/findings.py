"""Canonical visual findings and Text-to-Findings (paper, Sec. 3.2.1).

`mentions` reads findings out of running text by regular expressions: the longest phrase wins,
spelling, number and hyphens do not matter, and a finding that the text denies is marked as such
(`ontology.negation`). Names of diseases are no findings: "choroidal neovascularization" is not a
mention of the new vessels of diabetes, and "macular hole" not one of a defect that was seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import yaml

from fundus_r1.ontology.negation import denied
from fundus_r1.ontology.wording import GAP, PhraseFinder, phrase_pattern


@dataclass(frozen=True)
class Finding:
    """One visual finding."""

    key: str
    name: str
    """In the singular, as a trace or a question says it."""
    plural: str
    """Equal to `name` where the finding is not counted."""
    synonyms: tuple[str, ...]
    """American spelling, singular; abbreviations in capitals."""


def _read() -> dict[str, Finding]:
    rows = yaml.safe_load(files(__package__).joinpath("findings.yaml").read_text(encoding="utf-8"))
    return {
        key: Finding(key, row["name"], row["plural"], tuple(row["synonyms"])) for key, row in rows.items()
    }


FINDINGS: dict[str, Finding] = _read()

_NO_FINDING = (
    "choroidal neovascularization",
    "macular neovascularization",
    "subretinal neovascularization",
    "neovascularization of the iris",
    "iris neovascularization",
    "diabetic macular edema",
    "clinically significant macular edema",
    "choroidal hemorrhage",
    "subretinal fibrosis",
    "optic disc pit maculopathy",
    "optic pit maculopathy",
)
"""Phrases that hold a finding's word and mean something else."""

_SHARED_WORDS = {
    "hemorrhage": {
        "retinal": "retinal_hemorrhage",
        "intraretinal": "retinal_hemorrhage",
        "dot": "retinal_hemorrhage",
        "blot": "retinal_hemorrhage",
        "flame-shaped": "retinal_hemorrhage",
        "preretinal": "preretinal_hemorrhage",
        "subhyaloid": "preretinal_hemorrhage",
        "vitreous": "vitreous_hemorrhage",
        "subretinal": "subretinal_hemorrhage",
    },
    "exudate": {"hard": "hard_exudate", "soft": "cotton_wool_spot"},
    "fluid": {
        "intraretinal": "intraretinal_fluid",
        "intra": "intraretinal_fluid",
        "subretinal": "subretinal_fluid",
        "sub": "subretinal_fluid",
    },
    "edema": {"retinal": "retinal_thickening", "macular": "retinal_thickening"},
}
"""Last word -> first words that may share it: "hard and soft exudates"."""


class Mention(NamedTuple):
    """A finding in a text."""

    key: str
    negated: bool
    """Whether the text says that it is not there."""
    start: int
    end: int
    """``text[start:end]`` is the phrase."""


@cache
def _phrases() -> tuple[PhraseFinder, tuple[str | None, ...]]:
    """All phrases, longest first, and the finding of each."""
    phrases: dict[str, str | None] = dict.fromkeys(_NO_FINDING)
    for finding in FINDINGS.values():
        for phrase in (finding.name, finding.key.replace("_", " "), *finding.synonyms):
            if phrases.setdefault(phrase, finding.key) != finding.key:
                raise ValueError(f"{phrase!r} is the name of {phrases[phrase]} and of {finding.key}")
    patterns = [(phrase, phrase_pattern(phrase), key) for phrase, key in phrases.items()]
    joint = r"\s*(?:,|/|\band/or\b|\band\b|\bor\b|\bnor\b|-\s*and\b|-\s*or\b)\s*"
    for head, firsts in _SHARED_WORDS.items():
        first = "|".join(phrase_pattern(word) for word in firsts)
        tail = rf"(?={joint}(?:(?:{first}){joint}){{0,4}}(?:{first}){GAP}{phrase_pattern(head)}(?![^\W_]))"
        patterns += [(word, phrase_pattern(word) + tail, key) for word, key in firsts.items()]
    # The first phrase that fits is taken, so the longest has to stand first.
    patterns.sort(key=lambda item: (item[0][0].casefold(), -len(item[1].partition("(?=")[0])))
    finder = PhraseFinder([(phrase, pattern) for phrase, pattern, _ in patterns])
    return finder, tuple(key for _, _, key in patterns)


def mentions(text: str) -> list[Mention]:
    """Findings that a text speaks of, in the order in which they stand in it."""
    finder, keys = _phrases()
    found = [(keys[place], match.span()) for place, match in finder.find(text)]
    spans = [(key, span) for key, span in found if key is not None]
    negated = denied(text, [span for _, span in spans])
    return [Mention(key, no, start, end) for (key, (start, end)), no in zip(spans, negated, strict=True)]


_AROUND = re.compile(
    r"(?:a|an|the|of|in|on|at|to|with|and|or|presence|signs?|evidence|findings?|lesions?|multiple|few|some|"
    r"several|many|numerous|scattered|occasional|isolated|mild|moderate|severe|extensive|small|large|diffuse|"
    r"focal|visible|present|retina|retinal|macular|bilateral)"
)
"""Words that may stand around a finding's name and do not change which finding it is."""


def canonical_finding(text: str) -> str | None:
    """The key of the one finding that a phrase names, or None.

    Args:
        text: a phrase such as ``multiple dot-blot haemorrhages`` or ``hard_exudate``; a phrase that
            denies a finding, names several or says more than a finding gives None.
    """
    found = mentions(text)
    if len({mention.key for mention in found}) != 1 or any(mention.negated for mention in found):
        return None
    rest = text
    for mention in reversed(found):
        rest = f"{rest[: mention.start]} {rest[mention.end :]}"
    more = [word for word in re.findall(r"[^\W_]+", rest.casefold()) if not _AROUND.fullmatch(word)]
    return None if more else found[0].key
