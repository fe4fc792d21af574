"""A vocabulary that a person has reviewed: its YAML read back (paper, Sec. 3.2.1).

A file is read whole before anything is said of it, so that all its problems are told at once, each
with its label, its modality and the entry in its lists. `ontology.review_sheet` writes such files.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fundus_r1.errors import DataError
from fundus_r1.fingerprint import sha256
from fundus_r1.ontology.findings import FINDINGS, canonical_finding
from fundus_r1.ontology.labels import LABELS, canonical_label
from fundus_r1.ontology.strict_yaml import load_strictly
from fundus_r1.ontology.vocabulary import Groups, in_order
from fundus_r1.rows import Knowledge, Modality, Passage

GROUPS = ("required", "supportive", "absent")
REVIEWED = "reviewed"
"""Stands as the model of an entry that a person gave, and as the source of what such an entry names."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Source(_Strict):
    reference: str = Field(min_length=1)
    title: str = ""
    section: str = ""
    source: str = REVIEWED
    licence: str = ""


class _Entry(_Strict):
    label: str
    modality: str
    description: str
    required: dict[str, list[str] | None] | None = None
    supportive: dict[str, list[str] | None] | None = None
    absent: dict[str, list[str] | None] | None = None


class _Document(_Strict):
    format: Literal[1]
    sources: dict[str, _Source] | None = None
    vocabulary: list[_Entry]


@dataclass(frozen=True)
class ReviewedEntry:
    """One (label, modality) as a person left it."""

    label: str
    modality: Modality
    description: str
    groups: Groups
    evidence: Mapping[str, tuple[str, ...]]
    """Finding -> keys of `VocabularyFile.sources`."""

    def row(self, query: str) -> Knowledge:
        """The entry as the stage `knowledge` writes it."""
        cited = {key for keys in self.evidence.values() for key in keys}
        return Knowledge(
            label=self.label,
            modality=self.modality,
            query=query,
            description=self.description,
            required=self.groups.required,
            supportive=self.groups.supportive,
            absent=self.groups.absent,
            evidence={key: self.evidence[key] for key in self.groups.all},
            passages=tuple(sorted(cited)),
            model=REVIEWED,
        )


@dataclass(frozen=True)
class VocabularyFile:
    """A vocabulary as a file holds it."""

    entries: Mapping[tuple[str, Modality], ReviewedEntry]
    sources: Mapping[str, Passage]
    """What entries name; without text, since the file holds none."""


def read_vocabulary(text: str, where: str) -> VocabularyFile:
    """The vocabulary in a YAML file.

    Args:
        text: the file's content.
        where: its name, for errors.

    Raises:
        DataError: it is no vocabulary; all its problems are told.
    """
    document = _document(text, where)
    sources = {key: _passage(key, source) for key, source in (document.sources or {}).items()}
    entries: dict[tuple[str, Modality], ReviewedEntry] = {}
    problems: list[str] = []
    for number, raw in enumerate(document.vocabulary, 1):
        entry = _read_entry(raw, number, sources, problems)
        if entry is None:
            continue
        pair = (entry.label, entry.modality)
        if pair in entries:
            problems.append(f"{_name(*pair)}: entry {number} repeats an earlier one; keep one of them")
        entries.setdefault(pair, entry)
    _refuse(problems, where)
    return VocabularyFile(entries, sources)


def _document(text: str, where: str) -> _Document:
    try:
        tree = load_strictly(text)
    except yaml.YAMLError as error:
        raise DataError(
            f"The vocabulary is no YAML: {error}", where=where, hint="correct the line that it names"
        ) from error
    try:
        return _Document.model_validate(tree)
    except ValidationError as error:
        problems = [f"{_place(item['loc'], tree)}: {item['msg']}" for item in error.errors()]
        _refuse(problems, where)
        raise


def _refuse(problems: Sequence[str], where: str) -> None:
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DataError(
            f"The vocabulary has {count}:\n" + "\n".join(f"  - {problem}" for problem in problems),
            where=where,
            hint="correct them, and check again with: fundus-r1 vocabulary check FILE",
        )


def _place(loc: tuple[int | str, ...], tree: object) -> str:
    """Where a problem is, in words: ``moderate_npdr on CFP, required.microaneurysm``."""
    match loc, tree:
        case ("vocabulary", int(number), *rest), {"vocabulary": list(entries)}:
            entry = entries[number]
            named = (
                f"{entry.get('label')} on {entry.get('modality')}"
                if isinstance(entry, dict)
                else f"entry {number + 1}"
            )
            return ", ".join([named, ".".join(map(str, rest))] if rest else [named])
    return ".".join(map(str, loc)) or "the file"


def _name(label: str, modality: str) -> str:
    return f"{label} on {modality}"


def _read_entry(
    raw: _Entry, number: int, sources: dict[str, Passage], problems: list[str]
) -> ReviewedEntry | None:
    at = _name(raw.label, raw.modality)
    before = len(problems)
    label = raw.label if raw.label in LABELS else canonical_label(raw.label)
    if label is None:
        names = {name: key for key, row in LABELS.items() for name in (key, row.name)}
        problems.append(f"{at}: entry {number} has an unknown label{_nearest(raw.label, names)}")
    if raw.modality not in set(Modality):
        problems.append(f"{at}: the modality is none of {', '.join(Modality)}")
    if not raw.description.strip():
        problems.append(f"{at}: the description is empty; write one, or remove the entry")
    groups: dict[str, str] = {}
    evidence: dict[str, tuple[str, ...]] = {}
    for group, phrase, cited in _phrases(raw):
        here = f"{at}, {group}, {phrase!r}"
        key = phrase if phrase in FINDINGS else canonical_finding(phrase)
        if key is None:
            problems.append(f"{here}: no such finding{_nearest(phrase, _finding_names())}")
        elif key in groups:
            also = "twice" if groups[key] == group else f"in {groups[key]} too"
            problems.append(f"{here}: {FINDINGS[key].name} stands {also}; leave it in one place")
        else:
            groups[key] = group
            evidence[key] = tuple(_sources(cited, here, sources, problems))
    if len(problems) > before or label is None:
        return None
    found = Groups(*(in_order([key for key, at in groups.items() if at == group]) for group in GROUPS))
    return ReviewedEntry(label, Modality(raw.modality), raw.description.strip(), found, evidence)


def _phrases(raw: _Entry) -> Iterator[tuple[str, str, list[str]]]:
    for group in GROUPS:
        for phrase, cited in (getattr(raw, group) or {}).items():
            yield group, phrase, cited or []


def _sources(
    cited: Iterable[str], here: str, sources: dict[str, Passage], problems: list[str]
) -> Iterator[str]:
    """The sources of one finding; a reference in plain words becomes one of the file's sources."""
    count = 0
    for text in dict.fromkeys(text.strip() for text in cited):
        count += 1
        if text not in sources:
            # A key is one word. A mistyped one must not pass for a reference.
            if len(text.split()) < 2:
                problems.append(
                    f"{here}: there is no source {text!r}{_nearest(text, {key: key for key in sources})}"
                )
                continue
            sources[text] = _passage(text, _Source(reference=text))
        yield text
    if not count:
        problems.append(f"{here}: no source supports it; name one, or remove the finding")


def _passage(key: str, source: _Source) -> Passage:
    return Passage(
        passage_id=key,
        source=source.source,
        title=source.title,
        section=source.section,
        reference=source.reference,
        licence=source.licence,
        text="",
        digest=sha256(b""),
    )


def _finding_names() -> dict[str, str]:
    return {
        phrase: finding.name
        for finding in FINDINGS.values()
        for phrase in (finding.name, finding.plural, finding.key, *finding.synonyms)
    }


def _nearest(text: str, names: Mapping[str, str]) -> str:
    alike = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.6)
    return f"; the nearest is {names[alike[0]]!r}" if alike else ""
