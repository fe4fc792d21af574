"""Canonical labels, findings and tasks with their synonyms: the vocabulary that all stages share."""

from __future__ import annotations

from fundus_r1.ontology.findings import FINDINGS, Finding, Mention, canonical_finding, mentions
from fundus_r1.ontology.labels import LABELS, Label, canonical_label, lineage
from fundus_r1.ontology.tasks import TASKS, Task, pairs, task_of

__all__ = [
    "FINDINGS",
    "LABELS",
    "TASKS",
    "Finding",
    "Label",
    "Mention",
    "Task",
    "canonical_finding",
    "canonical_label",
    "lineage",
    "mentions",
    "pairs",
    "task_of",
]
