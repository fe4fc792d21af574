"""Reading a trace: its sentences, what each states, which labels it names, which modality.

A sentence that connects or concludes ("this is characteristic of ...", "therefore ...") speaks
about a label; there, a label's name is no statement of a finding of the same name (drusen, macular
hole). Every other sentence is an observation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from fundus_r1.ontology.findings import mentions
from fundus_r1.ontology.labels import LABELS, canonical_label
from fundus_r1.ontology.wording import PhraseFinder, phrase_pattern
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
    r"|rul\w+ out|against)\W+(?:(?!but\b)\w+[^\w,;:]+){0,3}$",
    re.IGNORECASE,
)
_RULED_OUT = re.compile(
    r"^(?:\s+\w+){0,2}?\s+(?:(?:is|are|was|seems?|appears?|remains?)(?:\s+\w+)?\s+(?:not|unlikely|uncertain"
    r"|unclear|doubtful|questionable|excluded|ruled out)|(?:cannot|can not|can't|could not|may not) be"
    r"|(?:is|was)n['’]t)\b",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:unclear|uncertain|inconclusive|insufficient|not (?:enough|sufficient|certain|sure)"
    r"|(?:cannot|can not|can't|could not) (?:be )?(?:tell|say|told|said|decid\w+|determin\w+|confirm\w*"
    r"|conclud\w+|establish\w*|diagnos\w+)|no (?:diagnosis|conclusion))\b",
    re.IGNORECASE,
)
_MODALITIES = {
    Modality.UWF: r"\bultra[- ]?wide[- ]?field(?:\W+(?:colou?r\W+)?(?:fundus|retinal)\W+\w+)?|\bUWF\b",
    Modality.OCT: r"\bOCT\b|\boptical coherence tomograph\w+|\bB-?scans?\b|\btomogra(?:m|ph)\w*",
    Modality.CFP: r"\bCFP\b|\bcolou?r fundus\b|\bfundus photo\w*|\bretinal photo\w*",
}


_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = frozenset(
    ["the", "and", "of", "is", "are", "with", "this", "these", "there", "which", "that", "it", "by", "be"]
)
_ENGLISH_SHARE = 0.08
"""Of the words of an English text, at least so many are among `_ENGLISH`; it is usually far more."""


@dataclass(frozen=True)
class Naming:
    """A label named in a sentence."""

    label: str
    start: int
    end: int
    contrasted: bool
    """Named only to set it apart or rule it out: "compared with mild NPDR", "PDR is unlikely"."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of a trace."""

    text: str
    links: bool
    """Connects something to a label."""
    concludes: bool
    doubts: bool
    """Says that nothing can be concluded."""

    @property
    def observes(self) -> bool:
        """States what is in the image, and no more."""
        return not (self.links or self.concludes)

    @cached_property
    def namings(self) -> list[Naming]:
        """The labels that it names."""
        return label_namings(self.text)

    def statements(self) -> Iterator[tuple[str, bool]]:
        """(finding, negated) for each finding stated; its abbreviation in brackets is no second time."""
        text = self.text
        if not self.observes:
            for naming in reversed(self.namings):
                text = f"{text[: naming.start]}this{text[naming.end :]}"
        key, end = "", 0
        for mention in mentions(text):
            if mention.key != key or text[end : mention.start].strip() != "(":
                yield mention.key, mention.negated
            key, end = mention.key, mention.end


def sentences(trace: str) -> list[Sentence]:
    """The sentences of a trace, in order."""
    parts = [part.strip() for part in _END.split(trace)]
    return [
        Sentence(
            part,
            links=bool(_LINK.search(part)),
            concludes=bool(_CONCLUDE.search(part)),
            doubts=bool(_DOUBT.search(part)),
        )
        for part in parts
        if part
    ]


@cache
def _label_names() -> PhraseFinder:
    phrases = {phrase for label in LABELS.values() for phrase in (label.name, *label.synonyms)}
    longest_first = sorted(phrases, key=lambda phrase: (phrase[0].casefold(), -len(phrase), phrase))
    return PhraseFinder([(phrase, phrase_pattern(phrase)) for phrase in longest_first])


def label_namings(text: str) -> list[Naming]:
    """All labels that a text names, longest names first where they overlap, by position.

    Beside a disease, the name of a sign ("cotton-wool spots") is a finding and no label.
    """
    found = []
    for _, match in _label_names().find(text):
        if label := canonical_label(match[0]):
            contrasted = _CONTRAST.search(text[: match.start()]) or _RULED_OUT.match(text[match.end() :])
            found.append(Naming(label, match.start(), match.end(), bool(contrasted)))
    diseases = [naming for naming in found if not LABELS[naming.label].sign]
    return diseases if any(not naming.contrasted for naming in diseases) else found


def in_english(text: str) -> bool:
    """Whether a text is in the language that findings and labels are read in."""
    words = _WORD.findall(text.casefold())
    return sum(word in _ENGLISH for word in words) > _ENGLISH_SHARE * len(words)


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


@lru_cache(maxsize=1024)
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
