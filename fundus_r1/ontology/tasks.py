"""Tasks: which labels a dataset's images may carry, and the questions made of them (paper, Sec. 3.2.3).

A task joins a dataset, its modality and the labels among which an image is to be told apart.
Labels stand in the order of severity or of the dataset's own list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fundus_r1.ontology.labels import LABELS
from fundus_r1.rows import Modality


@dataclass(frozen=True)
class Task:
    """One fundus-reading task."""

    key: str
    dataset: str
    modality: Modality
    labels: tuple[str, ...]
    """Keys of `LABELS`."""
    questions: tuple[str, ...]
    """Templates that are already whole questions; the answer is a label's name."""


TASKS: dict[str, Task] = {
    task.key: task
    for task in (
        Task(
            "dr_grading",
            "idrid",
            Modality.CFP,
            ("no_dr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr"),
            (
                "What is the grade of diabetic retinopathy in this color fundus photograph?",
                "Which stage of diabetic retinopathy does this color fundus photograph show?",
                "How severe is the diabetic retinopathy in this fundus image?",
            ),
        ),
        Task(
            "dr_lesions",
            "idrid",
            Modality.CFP,
            ("diabetic_retinopathy",),
            (
                "Which disease do the lesions in this color fundus photograph point to?",
                "What is the most likely diagnosis for this color fundus photograph?",
            ),
        ),
        Task(
            "oct_disease",
            "kermany",
            Modality.OCT,
            ("normal", "cnv", "dme", "drusen"),
            (
                "What is the most likely diagnosis for this OCT B-scan?",
                "Which condition does this OCT image of the retina show?",
                "What can be diagnosed from this OCT image?",
            ),
        ),
        Task(
            "uwf_disease",
            "top",
            Modality.UWF,
            (
                "normal",
                "amd",
                "rvo",
                "glaucoma",
                "macular_hole",
                "diabetic_retinopathy",
                "retinal_detachment",
                "retinitis_pigmentosa",
                "artery_occlusion",
            ),
            (
                "What is the most likely diagnosis for this ultra-widefield fundus image?",
                "Which eye disease does this ultra-widefield fundus image show?",
                "Which condition can be diagnosed from this ultra-widefield image?",
            ),
        ),
    )
}


def task_of(dataset: str, label: str) -> Task:
    """The task in which a dataset's label is asked for.

    Raises:
        KeyError: the dataset has no such label.
    """
    for task in TASKS.values():
        if task.dataset == dataset and label in task.labels:
            return task
    raise KeyError(f"the dataset {dataset} has no label {label}")


def pairs(datasets: Sequence[str]) -> list[tuple[str, Modality]]:
    """Every (label, modality) of the datasets once, by modality and then in ontology order."""
    order = {label: place for place, label in enumerate(LABELS)}
    found = {
        (label, task.modality) for task in TASKS.values() if task.dataset in datasets for label in task.labels
    }
    return sorted(found, key=lambda pair: (pair[1], order[pair[0]]))
