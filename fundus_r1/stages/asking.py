"""Asks models a benchmark's questions (paper, Sec. 4.1): every model the same text, one answer each.

All models get the prompt of `prompts.student` with the reasoning asked for, at temperature 0. Models
are opened one after the other, and each is closed before the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fundus_r1.benchmarks.scores import METRICS, Answered, judge, multi_label, overall
from fundus_r1.models.protocol import VisionModel, VisionRequest
from fundus_r1.progress import Progress, emit
from fundus_r1.prompts.student import student_prompt
from fundus_r1.rows import Question, Score
from fundus_r1.stages.base import Counts

STAGE_NAME = "evaluate"
CHUNK = 256
"""Questions whose images are in memory at once."""


@dataclass(frozen=True)
class Item:
    """A question and its image."""

    question: Question
    several: bool
    """Whether more than one option may be right."""
    read: Callable[[], bytes]
    """Reads the image, PNG or JPEG."""


@dataclass(frozen=True)
class Contender:
    """A model that is to be asked."""

    name: str
    open: Callable[[], VisionModel]


def choose(questions: Sequence[tuple[Question, Callable[[], bytes]]], limit: int | None) -> list[Item]:
    """At most `limit` questions of each benchmark and source, spread evenly over its subtasks.

    The first question of each subtask comes before the second of any; the order is kept.
    """
    several = multi_label(question for question, _ in questions)
    seen: dict[tuple[str, str, str, str], int] = {}
    rounds = []
    for question, _ in questions:
        part = (question.benchmark, question.source, question.task, question.subtask)
        seen[part] = seen.get(part, 0) + 1
        rounds.append(seen[part])
    taken: dict[tuple[str, str], int] = {}
    kept = set()
    for place in sorted(range(len(questions)), key=rounds.__getitem__):
        key = (questions[place][0].benchmark, questions[place][0].source)
        taken[key] = taken.get(key, 0) + 1
        if limit is None or taken[key] <= limit:
            kept.add(place)
    return [
        Item(question, (question.benchmark, question.source, question.subtask) in several, read)
        for place, (question, read) in enumerate(questions)
        if place in kept
    ]


def ask(
    contenders: Sequence[Contender], items: Sequence[Item], *, max_tokens: int, seed: int
) -> list[Answered]:
    """What each model says to each question, model by model, in the order of the questions.

    Args:
        max_tokens: of an answer, trace included.
        seed: sent with each request; at temperature 0 it should not matter.

    Raises:
        ModelError: a model could not be opened, or failed.
    """
    answered: list[Answered] = []
    if not items:
        return answered
    progress = Progress(STAGE_NAME, len(items) * len(contenders), "answers")
    for contender in contenders:
        emit(STAGE_NAME, "note", text=f"asking {contender.name}")
        model = contender.open()
        try:
            for start in range(0, len(items), CHUNK):
                chunk = items[start : start + CHUNK]
                texts = list(model.generate([_request(item, max_tokens, seed) for item in chunk]))
                answered += [
                    Answered(
                        item.question,
                        judge(contender.name, item.question, said.texts[0], several=item.several),
                    )
                    for item, said in zip(chunk, texts, strict=True)
                ]
                progress.advance(len(chunk), model=contender.name)
        finally:
            model.close()
    return answered


def _request(item: Item, max_tokens: int, seed: int) -> VisionRequest:
    question = item.question
    return VisionRequest(
        image=item.read(),
        prompt=student_prompt(question.question, question.options, reasoning=True),
        n=1,
        max_tokens=max_tokens,
        temperature=0.0,
        seed=seed,
    )


def figures(answered: Sequence[Answered], found: Sequence[Score]) -> Counts:
    """What a record is known by: questions, unread answers, and each model's overall scores.

    ``funbench_f1_base`` and the like are shares of 1. Where a benchmark has questions of both
    sources, the source is added to the name.
    """
    asked = [item.prediction for item in answered]
    counts: Counts = {"questions": len({(p.benchmark, p.source, p.question_id) for p in asked})}
    sources: dict[str, set[str]] = {}
    for p in asked:
        sources.setdefault(p.benchmark, set()).add(p.source)
    for model in dict.fromkeys(p.model for p in asked):
        for benchmark, of in sorted(sources.items()):
            for source in sorted(of):
                name = f"{benchmark}_{METRICS[benchmark]}_{model}" + (f"_{source}" if len(of) > 1 else "")
                counts[name] = overall(found, benchmark, model, source)
        counts[f"unread_{model}"] = sum(p.model == model and not p.extracted for p in asked)
    return counts
