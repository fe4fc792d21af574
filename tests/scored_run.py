"""Runs of which only what they scored is there: evaluations and the records of the training before them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from fundus_r1.record import Record
from fundus_r1.rows import Score
from fundus_r1.spec import RunSpec
from fundus_r1.stages.job import job_of
from fundus_r1.storage.output import OutputWriter
from fundus_r1.storage.protocol import Store

GOOD = {"funbench": 0.6, "omnimedvqa": 0.7, "gmai": 0.5}


def score(
    model: str, benchmark: str, value: float | None, source: str = "given", questions: int = 40
) -> Score:
    return Score.model_validate(
        {
            "model": model, "benchmark": benchmark, "source": source, "level": "overall", "name": "overall",
            "metric": "f1" if benchmark == "funbench" else "accuracy", "value": value, "questions": questions,
        }
    )  # fmt: skip


def trained(spec: RunSpec) -> str:
    """The model of a run's setup that is trained furthest."""
    recipe = spec.science.recipe
    return "grpo" if recipe.grpo else "sft" if recipe.sft else "base"


def put_scores(
    store: Store, spec: RunSpec, values: Mapping[str, float | None] = GOOD, source: str = "given"
) -> Record:
    """The records of a run's training and its evaluation, in which the model before training scored 0.1."""
    for stage in ("trainset", "sft", "grpo"):
        _close(OutputWriter(store, stage, job_of(spec, stage).fingerprint), spec)
    writer = OutputWriter(store, "evaluate", job_of(spec, "evaluate").fingerprint)
    rows = [score("base", name, 0.1, source) for name in values]
    best = trained(spec)
    rows = [row for row in rows if best != "base"]
    writer.write_rows(
        "scores.jsonl", rows + [score(best, name, value, source) for name, value in values.items()]
    )
    return _close(writer, spec)


def _close(writer: OutputWriter, spec: RunSpec) -> Record:
    job = job_of(spec, writer.stage)
    return writer.close(
        revision=job.definition.revision, science=job.science, prompts=job.definition.prompt_hashes(),
        inputs=job.inputs, counts={}, models={}, started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
