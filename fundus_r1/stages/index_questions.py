"""The benchmarks' part of stage 1: questions whose images could be read, with those images.

A benchmark may be drawn and given at once; its questions are then kept apart by their source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fundus_r1.benchmarks import RawQuestion
from fundus_r1.datasets.collect import check_share
from fundus_r1.datasets.images import BadImageError, ImageFacts, Limits, travelling_bytes
from fundus_r1.pictures import Source as Place
from fundus_r1.rows import Quarantined, Question
from fundus_r1.spec.science import Index
from fundus_r1.storage.output import OutputWriter
from fundus_r1.storage.tables import TableWriter

Source = Literal["synthetic", "given"]


@dataclass(frozen=True)
class Asked:
    """A benchmark question, and its image on this machine."""

    question: Question
    file: Place
    facts: ImageFacts


def ask(
    index: Index,
    questions: Iterable[tuple[Source, RawQuestion]],
    facts: dict[Place, ImageFacts | BadImageError],
) -> tuple[list[Asked], list[Quarantined]]:
    """Questions whose image could be decoded, and why the others were left out."""
    asked: dict[tuple[str, Source, str], Asked] = {}
    lost: list[Quarantined] = []
    for source, raw in questions:
        key, image = (raw.benchmark, source, raw.question_id), facts[raw.file]
        if isinstance(image, BadImageError):
            lost.append(
                Quarantined(dataset=raw.benchmark, path=raw.image, reason=image.reason, detail=image.detail)
            )
        elif key in asked:
            detail = f"another data folder has the question {raw.question_id} too"
            lost.append(Quarantined(dataset=raw.benchmark, path=raw.image, reason="duplicate", detail=detail))
        else:
            asked[key] = Asked(_question(raw, source, image), raw.file, image)
    for benchmark in index.benchmarks:
        good = sum(key[0] == benchmark for key in asked)
        check_share(benchmark, good, [row for row in lost if row.dataset == benchmark], index.bad_share)
    return list(asked.values()), lost


def _question(raw: RawQuestion, source: Source, facts: ImageFacts) -> Question:
    return Question(
        question_id=raw.question_id,
        benchmark=raw.benchmark,
        source=source,
        task=raw.task,
        subtask=raw.subtask,
        question=raw.question,
        options=raw.options,
        answers=raw.answers,
        modality=raw.modality,
        image=raw.image,
        digest=facts.digest,
        pixels=facts.pixels,
        patient=raw.patient,
        media_type=facts.media_type,
    )


def write_questions(output: OutputWriter, scratch: Path, limits: Limits, asked: Sequence[Asked]) -> None:
    """All questions, and for each benchmark and source a table of them with their images.

    The tables are written image by image to `scratch`, because a benchmark may be larger than memory.
    """
    output.write_rows("questions.jsonl", [item.question for item in asked])
    groups: dict[str, list[Asked]] = {}
    for item in asked:
        groups.setdefault(f"{item.question.benchmark}-{item.question.source}", []).append(item)
    for name, items in groups.items():
        path = scratch / f"{name}.parquet"
        with TableWriter(path, Question) as table:
            for item in items:
                table.write([item.question], [travelling_bytes(item.file, item.facts, limits)])
        output.upload_file(f"questions/{name}.parquet", path, rows=len(items))
