"""What differs between two vocabularies, label by label (paper, Sec. 3.2.1).

Both are flattened to single facts (which group a finding is in, what supports it, how a
description reads). So a difference read backwards is the difference of the two the other way
round, and there is none exactly if the vocabularies are equal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.reviewed import GROUPS, VocabularyFile
from fundus_r1.rows import Modality

Value = str | tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """One fact that is not the same in both."""

    label: str
    """Empty for a source, which belongs to no label."""
    modality: Modality | None
    what: str
    """``entry``, ``description``, ``group``, ``sources`` or ``source``."""
    name: str
    """The finding, or the key of a source; else empty."""
    before: Value | None
    """None: not there."""
    after: Value | None

    def reversed(self) -> Difference:
        """The same seen from the other side."""
        return Difference(self.label, self.modality, self.what, self.name, self.after, self.before)


_Key = tuple[str, Modality | None, str, str]


def _facts(file: VocabularyFile) -> Iterator[tuple[_Key, Value]]:
    for (label, modality), entry in file.entries.items():
        yield (label, modality, "entry", ""), ""
        yield (label, modality, "description", ""), entry.description
        for group in GROUPS:
            for finding in getattr(entry.groups, group):
                yield (label, modality, "group", finding), group
                yield (label, modality, "sources", finding), tuple(sorted(entry.evidence[finding]))
    for key, row in file.sources.items():
        yield ("", None, "source", key), (row.reference, row.title, row.section, row.source, row.licence)


def differences(a: VocabularyFile, b: VocabularyFile) -> list[Difference]:
    """What must be changed in `a` to make it `b`; in the order of labels and findings."""
    left, right = dict(_facts(a)), dict(_facts(b))
    labels = {key: place for place, key in enumerate(("", *LABELS))}
    findings = {key: place for place, key in enumerate(FINDINGS)}
    whats = ("source", "entry", "description", "group", "sources")

    def order(key: _Key) -> tuple[bool, str, int, int, int, str]:
        label, modality, what, name = key
        return (
            not label,
            modality or "",
            labels[label],
            whats.index(what) if what != "sources" else whats.index("group"),
            findings.get(name, -1),
            f"{name} {what}",
        )

    keys = sorted({key for key in left.keys() | right.keys() if left.get(key) != right.get(key)}, key=order)
    return [Difference(*key, before=left.get(key), after=right.get(key)) for key in keys]


def told(found: Sequence[Difference]) -> Iterator[str]:
    """The differences as lines for a person, under a heading for each label and modality."""
    heading = ""
    for item in found:
        title = f"{LABELS[item.label].name} on {item.modality}" if item.label else "Sources"
        lines = list(_lines(item))
        if lines and title != heading:
            heading = title
            yield f"{title}:"
        yield from (f"  {line}" for line in lines)


def _lines(item: Difference) -> Iterator[str]:
    name = FINDINGS[item.name].name if item.name in FINDINGS else item.name
    match item.what, item.before, item.after:
        case "entry", None, _:
            yield "the whole entry is new"
        case "entry", _, _:
            yield "the whole entry is gone"
        case "group", None, group:
            yield f"+ {name} ({group})"
        case "group", group, None:
            yield f"- {name} ({group})"
        case "group", before, after:
            yield f"> {name}: from {before} to {after}"
        case "sources", tuple(before), tuple(after):
            changes = [f"+ {key}" for key in after if key not in before]
            changes += [f"- {key}" for key in before if key not in after]
            yield f"  {name}: sources {', '.join(changes)}"
        case "description", str(before), str(after):
            yield from _changed_words(before, after)
        case "source", None, _:
            yield f"+ {name}"
        case "source", _, None:
            yield f"- {name}"
        case "source", tuple(before), tuple(after):
            yield f"> {name}: {' | '.join(before)} -> {' | '.join(after)}"


def _changed_words(before: str, after: str) -> Iterator[str]:
    """The changed stretches of a description, each with what it was and what it became."""
    old, new = before.split(), after.split()
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            was, became = " ".join(old[i1:i2]) or "(nothing)", " ".join(new[j1:j2]) or "(nothing)"
            yield f"description: {was} -> {became}"
