"""Tasks: which labels a dataset's images may carry, and the questions made of them (paper, Sec. 3.2.3).

A task joins a dataset, one of its modalities and the labels among which an image is to be told
apart. All 17 datasets of Tab. 2 have theirs, in ``tasks.yaml``; what of them is unverified is said
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from fundus_r1.ontology.labels import LABELS
from fundus_r1.rows import Modality


@dataclass(frozen=True)
class Task:
    """One fundus-reading task."""

    key: str
    dataset: str
    modality: Modality
    labels: tuple[str, ...]
    """Keys of `LABELS`, in the order of severity or of the dataset's own list."""
    questions: tuple[str, ...]
    """Templates that are already whole questions; the answer is a label's name."""
    codes: Mapping[str, str]
    """The dataset's own code -> label; empty where it has none."""


def _task(key: str, row: Mapping[str, Any]) -> Task:
    codes = row["labels"] if isinstance(row["labels"], dict) else {}
    labels = tuple(codes.values() or row["labels"])
    if unknown := [label for label in labels if label not in LABELS]:
        raise ValueError(f"the task {key} has labels that do not exist: {', '.join(unknown)}")
    return Task(key, row["dataset"], Modality(row["modality"]), labels, tuple(row["questions"]), codes)


def _read() -> dict[str, Task]:
    rows = yaml.safe_load(files(__package__).joinpath("tasks.yaml").read_text(encoding="utf-8"))["tasks"]
    return {key: _task(key, row) for key, row in rows.items()}


TASKS: dict[str, Task] = _read()


def task_of(dataset: str, label: str, modality: Modality | None = None) -> Task:
    """The task in which a dataset's label is asked for.

    Args:
        dataset: as in `spec.science.Dataset`.
        label: key of `LABELS`.
        modality: of the image; None takes the dataset's first, which is the only one of most.

    Raises:
        KeyError: the dataset has no such label on this modality.
    """
    task = _by_label().get((dataset, label, modality))
    if task is None:
        on = f" on {modality}" if modality else ""
        raise KeyError(f"the dataset {dataset} has no label {label}{on}")
    return task


@cache
def _by_label() -> dict[tuple[str, str, Modality | None], Task]:
    found: dict[tuple[str, str, Modality | None], Task] = {}
    for task in TASKS.values():
        for label in task.labels:
            found.setdefault((task.dataset, label, None), task)
            found.setdefault((task.dataset, label, task.modality), task)
    return found


def pairs(datasets: Sequence[str]) -> list[tuple[str, Modality]]:
    """Every (label, modality) of the datasets once, by modality and then in ontology order."""
    order = {label: place for place, label in enumerate(LABELS)}
    found = {
        (label, task.modality) for task in TASKS.values() if task.dataset in datasets for label in task.labels
    }
    return sorted(found, key=lambda pair: (pair[1], order[pair[0]]))
