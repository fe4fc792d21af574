"""Vocab[y, m]: a record's phrases as canonical findings, and what is asked of the observer.

Text-to-Findings (paper, Sec. 3.2.1) removes what is said twice, normalises spelling and merges
synonyms. The groups come out disjoint: what is decisive is not merely supportive, and what belongs
to a label does not speak against it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fundus_r1.ontology.findings import FINDINGS, mentions
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Modality, VocabularyEntry


def in_order(keys: Collection[str]) -> tuple[str, ...]:
    """Findings once each, in the order of the ontology."""
    return tuple(key for key in FINDINGS if key in keys)


@dataclass(frozen=True)
class Groups:
    """Canonical findings of one (label, modality), in the order of the ontology."""

    required: tuple[str, ...]
    supportive: tuple[str, ...]
    absent: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    """Phrases in which no finding of the ontology was recognised."""
    conflicts: tuple[str, ...] = ()
    """Findings that were said to belong and to be absent; they are kept as belonging."""

    def only(self, known: Collection[str]) -> Groups:
        """The groups without findings that are not among `known`."""
        return Groups(
            tuple(key for key in self.required if key in known),
            tuple(key for key in self.supportive if key in known),
            tuple(key for key in self.absent if key in known),
            self.unknown,
            self.conflicts,
        )

    @property
    def all(self) -> tuple[str, ...]:
        """All findings of the groups, in the order of the ontology."""
        return in_order({*self.required, *self.supportive, *self.absent})


def group(required: Iterable[str], supportive: Iterable[str], absent: Iterable[str]) -> Groups:
    """Phrases to findings. "No neovascularization" in any list is a finding that is absent.

    Args:
        required: phrases for decisive findings, as a writer worded them.
        supportive: phrases for findings that may be there.
        absent: phrases for findings that speak against the label.
    """
    found: dict[str, set[str]] = {"required": set(), "supportive": set(), "absent": set()}
    unknown: list[str] = []
    for name, phrases in (("required", required), ("supportive", supportive), ("absent", absent)):
        for phrase in phrases:
            here = mentions(phrase)
            if not here and phrase.strip() not in unknown:
                unknown.append(phrase.strip())
            for mention in here:
                found["absent" if mention.negated else name].add(mention.key)
    belongs = found["required"] | found["supportive"]
    return Groups(
        required=in_order(found["required"]),
        supportive=in_order(found["supportive"] - found["required"]),
        absent=in_order(found["absent"] - belongs),
        unknown=tuple(unknown),
        conflicts=in_order(found["absent"] & belongs),
    )


def vocabulary(
    groups: dict[tuple[str, Modality], Groups], datasets: Sequence[str], scope: Literal["task", "label"]
) -> list[VocabularyEntry]:
    """One entry for each (label, modality), in their order.

    Args:
        groups: findings of each (label, modality).
        datasets: whose tasks count.
        scope: ``label`` asks the findings of the entry alone; ``task`` those of all labels among which
            the image is to be told apart, so that the question does not give away the answer.
    """
    entries = []
    for (label, modality), own in groups.items():
        asked = set(own.all)
        if scope == "task":
            for task in TASKS.values():
                if task.dataset in datasets and task.modality == modality and label in task.labels:
                    asked.update(key for other in task.labels for key in groups[(other, modality)].all)
        entries.append(
            VocabularyEntry(
                label=label,
                modality=modality,
                required=own.required,
                supportive=own.supportive,
                absent=own.absent,
                asked=in_order(asked) if scope == "task" else (*own.required, *own.supportive, *own.absent),
            )
        )
    return entries
