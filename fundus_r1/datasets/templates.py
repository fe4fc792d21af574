"""VQA triplets (image, question, answer) from task templates (paper, Sec. 3.2.3).

One triplet for each label of an image. Options are the labels of the task, at most six, in an order
that depends on the sample and the seed alone; the other labels that an image has as well are never
among them, since they would be right too. A task with a single label is asked as an open question.
"""

from __future__ import annotations

from fundus_r1.datasets.split import unit
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import Task, task_of
from fundus_r1.rows import Sample, Triplet

MAX_OPTIONS = 6
_LETTERS = "ABCDEF"


def triplets_of(sample: Sample, seed: int) -> list[Triplet]:
    """The triplets of one sample, in the order of its labels."""
    return [
        _triplet(sample, label, task_of(sample.dataset, label, sample.modality), seed)
        for label in sample.labels
    ]


def _triplet(sample: Sample, label: str, task: Task, seed: int) -> Triplet:
    key = (seed, sample.sample_id, label)
    options = _options(sample, label, task, key)
    return Triplet(
        triplet_id=f"{sample.sample_id}#{task.key}/{label}",
        sample_id=sample.sample_id,
        task=task.key,
        modality=sample.modality,
        label=label,
        question=task.questions[int(unit("question", *key) * len(task.questions))],
        options={letter: LABELS[option].name for letter, option in zip(_LETTERS, options, strict=False)},
        answer=LABELS[label].name,
        option_labels=dict(zip(_LETTERS, options, strict=False)),
    )


def _options(sample: Sample, label: str, task: Task, key: tuple[object, ...]) -> list[str]:
    if len(task.labels) == 1:
        return []
    wrong = [other for other in task.labels if other not in sample.labels]
    wrong.sort(key=lambda other: unit("distractor", *key, other))
    return sorted([label, *wrong[: MAX_OPTIONS - 1]], key=lambda option: unit("order", *key, option))
