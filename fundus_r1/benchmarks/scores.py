"""From a model's text to a `Prediction`, and from predictions to the benchmarks' scores.

FunBench: F1 of each file -> plain mean over a task's files -> over a level's tasks -> over the levels.
OmniMedVQA and GMAI-MMBench: accuracy of each task -> plain mean over the tasks, as in the paper (Tab. 5).
A part without questions, or without a defined figure, is left out of the mean above it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fundus_r1.benchmarks.metrics import Chosen, accuracy, funbench_f1, mean
from fundus_r1.prompts.extraction import extract
from fundus_r1.rows import Prediction, Score

Metric = Literal["accuracy", "f1"]
METRICS: dict[str, Metric] = {"funbench": "f1", "omnimedvqa": "accuracy", "gmai": "accuracy"}
TASKS: dict[str, tuple[str, ...]] = {
    "omnimedvqa": ("MR", "AI", "LG", "DD"),
    "gmai": ("AR", "NT", "BVR", "DD", "SG"),
}
"""Tasks of the benchmarks that are scored by accuracy, in the paper's order."""


class Asked(Protocol):
    """What is needed of a question; `rows.Question` has it."""

    @property
    def question_id(self) -> str: ...
    @property
    def benchmark(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def subtask(self) -> str: ...
    @property
    def options(self) -> Mapping[str, str]: ...
    @property
    def answers(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Answered:
    """A question with what a model said to it."""

    question: Asked
    prediction: Prediction

    @property
    def chosen(self) -> Chosen:
        texts = self.question.options
        return Chosen(
            truth=frozenset(texts[letter] for letter in self.prediction.answers),
            chosen=frozenset(texts[letter] for letter in self.prediction.extracted),
            options=frozenset(texts.values()),
        )


def multi_label(questions: Iterable[Asked]) -> set[tuple[str, str, str]]:
    """(benchmark, source, subtask) of the files in which a question may have several right answers."""
    return {(q.benchmark, q.source, q.subtask) for q in questions if len(q.answers) > 1}


def judge(model: str, question: Asked, raw: str, *, several: bool) -> Prediction:
    """Reads a model's text as the answer to a question.

    It is right if exactly the texts of the right options are chosen.
    """
    letters = extract(raw, question.options, several=several)
    texts = {question.options[letter] for letter in letters}
    return Prediction(
        model=model,
        benchmark=question.benchmark,
        source=question.source,
        task=question.task,
        subtask=question.subtask,
        question_id=question.question_id,
        raw=raw,
        extracted=letters,
        answers=question.answers,
        correct=texts == {question.options[letter] for letter in question.answers},
    )


def scores(answered: Sequence[Answered]) -> list[Score]:
    """All scores of the given answers: each model, benchmark and source by itself, in that order."""
    groups: dict[tuple[str, str, str], list[Answered]] = defaultdict(list)
    for item in answered:
        p = item.prediction
        groups[p.benchmark, p.source, p.model].append(item)
    found: list[Score] = []
    for (benchmark, source, model), items in sorted(groups.items(), key=lambda group: group[0][:2]):
        tree = _funbench(items) if METRICS[benchmark] == "f1" else _accuracies(items, TASKS[benchmark])
        found += [
            Score(
                model=model,
                benchmark=benchmark,
                source=source,
                level=figure.level,
                name=figure.name,
                metric=METRICS[benchmark],
                value=figure.value,
                questions=figure.questions,
            )
            for figure in tree
        ]
    return found


@dataclass(frozen=True)
class _Figure:
    level: Literal["overall", "level", "task", "subtask"]
    name: str
    value: float | None
    questions: int


def _groups(items: Iterable[Answered], field: str) -> dict[str, list[Answered]]:
    groups: dict[str, list[Answered]] = defaultdict(list)
    for item in items:
        groups[getattr(item.prediction, field)].append(item)
    return dict(sorted(groups.items()))


def _above(level: Literal["overall", "level", "task"], name: str, below: Sequence[_Figure]) -> _Figure:
    return _Figure(level, name, mean(f.value for f in below), sum(f.questions for f in below))


def _funbench(items: Sequence[Answered]) -> list[_Figure]:
    files: list[_Figure] = []
    tasks: list[_Figure] = []
    for task, of_task in _groups(items, "task").items():
        of_files = [
            _Figure("subtask", stem, funbench_f1([item.chosen for item in answers]), len(answers))
            for stem, answers in _groups(of_task, "subtask").items()
        ]
        files += of_files
        tasks.append(_above("task", task, of_files))
    levels = [
        _above("level", level, [task for task in tasks if task.name[:2] == level])
        for level in sorted({task.name[:2] for task in tasks})
    ]
    return [_above("overall", "overall", levels), *levels, *tasks, *files]


def _accuracies(items: Sequence[Answered], names: Sequence[str]) -> list[_Figure]:
    def share(of: Sequence[Answered]) -> float | None:
        return accuracy([item.prediction.correct for item in of])

    by_task = _groups(items, "task")
    order = [task for task in names if task in by_task]
    tasks = [_Figure("task", task, share(by_task[task]), len(by_task[task])) for task in order]
    parts = [
        _Figure("subtask", f"{task} {part}", share(of), len(of))
        for task in order
        for part, of in _groups(by_task[task], "subtask").items()
    ]
    return [_above("overall", "overall", tasks), *tasks, *parts]


def overall(found: Iterable[Score], benchmark: str, model: str, source: str) -> float | None:
    """The overall score of one model on one benchmark; None if it was not asked."""
    return next(
        (
            score.value
            for score in found
            if (score.benchmark, score.model, score.source, score.level)
            == (benchmark, model, source, "overall")
        ),
        None,
    )
