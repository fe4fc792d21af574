"""Stage 9, ``evaluate``: the student before and after training, on the benchmarks (paper, Sec. 4).

Asked are ``base``, then ``sft`` and ``grpo`` as far as they were trained, all with the same prompt
(see `stages.asking`); scores stand apart by source of the questions. The observer's findings are
measured against masks (Tab. 6), and beside them, on the same images, what free-form traces state.
For other models see `stages.evaluate_alone`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fundus_r1.benchmarks.finding_quality import average_s2, finding_quality
from fundus_r1.benchmarks.scores import scores
from fundus_r1.models.protocol import VisionModel
from fundus_r1.models.weights import materialise, model_cache, model_id, with_pixels
from fundus_r1.prompts.student import parse_student
from fundus_r1.prompts.trace_reading import stated
from fundus_r1.rows import Findings, Question, Sample, Trace
from fundus_r1.spec import Science, Spec
from fundus_r1.spec.models import ModelRef
from fundus_r1.spec.placement import Engine
from fundus_r1.spec.science import EvaluateScience
from fundus_r1.spec.training import Pixels
from fundus_r1.stages.asking import Contender, ask, choose, figures
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.storage.output import StageOutput
from fundus_r1.storage.tables import from_parquet

TRAINED = ("sft", "grpo")


class EvaluateSlice(Spec):
    """What the evaluation reads of the science."""

    evaluate: EvaluateScience
    student: ModelRef
    pixels: Pixels
    """Of the student before training; a trained one carries its own."""


def open_vllm(path: Path, engine: Engine, name: str) -> VisionModel:
    """A model folder, loaded into vLLM."""
    from fundus_r1.models.vllm_engine import VllmVision

    return VllmVision(path, engine, model_name=name)


def _questions(index: StageOutput, folder: Path) -> list[tuple[Question, Callable[[], bytes]]]:
    """All questions of the index; their images are laid into `folder`, to be read when asked about."""
    found: list[tuple[Question, Callable[[], bytes]]] = []
    folder.mkdir()
    for name in index.names("questions/"):
        for question, image in from_parquet(index.read_bytes(name), Question):
            path = folder / str(len(found))
            path.write_bytes(image)
            found.append((question, path.read_bytes))
    return found


def free_findings(traces: StageOutput) -> dict[str, frozenset[str]]:
    """Sample id -> what its free-form trace states as present, by Text-to-Findings."""
    return {
        row.sample_id: stated(parse_student(row.text).think or row.text).present
        for row in traces.read_rows("free.jsonl", Trace)
    }


def _run(context: Context[EvaluateSlice]) -> Result:
    science, engine = context.science, context.placement.engine
    with context.scratch() as scratch:
        items = choose(_questions(context.inputs["index"], scratch / "images"), science.evaluate.limit)
        used = {"base": model_id(science.student)}

        def base() -> VisionModel:
            path = materialise(science.student, model_cache(context.placement), context.store)
            return open_vllm(with_pixels(path, science.pixels, scratch / "base"), engine, used["base"])

        def trained(stage: str) -> VisionModel:
            path = context.inputs[stage].download_folder("model", scratch / stage)
            return open_vllm(path, engine, used[stage])

        contenders = [Contender("base", base)]
        for stage in TRAINED:
            output = context.inputs[stage]
            if output.names("model/"):
                used[stage] = f"{stage}@{output.record.short}"
                contenders.append(Contender(stage, partial(trained, stage)))
        answered = ask(contenders, items, max_tokens=science.evaluate.max_tokens, seed=science.evaluate.seed)
    found = scores(answered)
    quality = finding_quality(
        context.inputs["findings"].read_rows("findings.jsonl", Findings),
        context.inputs["index"].read_rows("samples.jsonl", Sample),
        free_findings(context.inputs["traces"]),
    )
    context.output.write_rows("predictions.jsonl", [item.prediction for item in answered])
    context.output.write_rows("scores.jsonl", found)
    context.output.write_rows("finding_quality.jsonl", quality)
    counts = figures(answered, found) | {
        "findings_s2": average_s2(row for row in quality if row.method == "ours"),
        "free_s2": average_s2(row for row in quality if row.method == "free"),
    }
    return Result(counts=counts, models=used if items else {})


def _select(science: Science) -> EvaluateSlice:
    return EvaluateSlice(evaluate=science.evaluate, student=science.models.student, pixels=science.pixels)


STAGE = Stage(
    name="evaluate",
    summary="Scores the student before and after training on the benchmarks, and the findings against masks.",
    revision=3,
    after=("index", "findings", "traces", "sft", "grpo"),
    slice_type=EvaluateSlice,
    select=_select,
    run=_run,
    prompts=("student",),
)
