"""Stage 4, ``traces``: a reasoning trace for each triplet (paper, Sec. 3.2.3).

Each triplet whose image has findings, and of whose label something is known, gets one. In the paper's
mode the writer composes it from VF(x) and D[y, m]; in mode ``free`` a vision model does from the image,
which is the paper's baseline (`stages.free_form`). Whatever was said is kept as it is: whether it is any
good is the next stage's question, and an answer of no use costs one trace.

``free.jsonl`` has one free-form trace of each image with masks, of its first triplet, so that both
columns of Tab. 6 can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_r1.models.protocol import ChatRequest
from fundus_r1.prompts.material import Material, trace_question
from fundus_r1.prompts.student import parse_student
from fundus_r1.prompts.trace_reading import in_english
from fundus_r1.rows import Trace
from fundus_r1.spec import Science, Spec
from fundus_r1.spec.models import Chat, VisionRef
from fundus_r1.spec.science import TracesScience
from fundus_r1.stages.base import Context, Counts, Result, Stage
from fundus_r1.stages.batches import in_batches
from fundus_r1.stages.free_form import FreeForm
from fundus_r1.stages.material import as_trace, gather
from fundus_r1.stages.writing import Writer, open_writer


class TracesSlice(Spec):
    """What of the science the traces depend on."""

    traces: TracesScience
    writer: Chat | None
    """None where all traces are free-form."""
    free_form: VisionRef | None
    """None where no trace is free-form."""


def _select(science: Science) -> TracesSlice:
    free = science.traces.mode == "free"
    return TracesSlice(
        traces=science.traces,
        writer=None if free else science.models.writer,
        free_form=science.models.free_form if free or science.traces.baseline else None,
    )


def _by_knowledge(ctx: Context[TracesSlice], materials: Sequence[Material], writer: Writer) -> list[Trace]:
    def compose(batch: Sequence[Material]) -> list[Trace]:
        requests = [
            ChatRequest(
                task="trace", messages=(("user", trace_question(material)),), inputs=material.inputs()
            )
            for material in batch
        ]
        answers = writer.model.complete(requests)
        return [
            as_trace(material, "knowledge", answer.text, answer.model)
            for material, answer in zip(batch, answers, strict=True)
        ]

    return in_batches(ctx, materials, compose, Trace, "traces", lanes=writer.lanes)


def _masked(materials: Sequence[Material]) -> list[Material]:
    """The first triplet of each image with masks."""
    first: dict[str, Material] = {}
    for material in materials:
        if material.source == "pixel":
            first.setdefault(material.triplet.sample_id, material)
    return list(first.values())


def _models(traces: Sequence[Trace], free: Sequence[Trace]) -> dict[str, str]:
    rows = {"writer": traces, "free_form": [*free, *traces]}
    modes = {"writer": "knowledge", "free_form": "free"}
    answered = {
        role: ", ".join(sorted({row.model for row in rows[role] if row.mode == modes[role]})) for role in rows
    }
    return {role: models for role, models in answered.items() if models}


def _malformed(traces: Sequence[Trace]) -> int:
    """Traces without the tags that are asked for, or in another language."""
    parsed = (parse_student(trace.text) for trace in traces)
    return sum(not (text.well_formed and in_english(text.think or "")) for text in parsed)


def run(ctx: Context[TracesSlice]) -> Result:
    """Writes ``traces.jsonl``, in the order of the triplets, and ``free.jsonl``."""
    science = ctx.science
    materials = gather(ctx.inputs)
    masked = _masked(materials)
    composer: FreeForm | None = None
    if science.free_form is not None:
        # Before the writer is paid for days of traces: the baseline must not fail for want of an endpoint.
        composer = FreeForm(ctx, science.free_form, science.traces, masked if science.writer else materials)
    traces: list[Trace] = []
    used: dict[str, int] = {}
    if science.writer is not None and materials:
        writer = open_writer(ctx, science.writer)
        traces = _by_knowledge(ctx, materials, writer)
        used |= writer.counts()
    free: list[Trace] = []
    if composer is not None:
        free = composer.compose()
        used |= composer.counts()
    if science.writer is None:
        shown = {material.triplet.triplet_id for material in masked}
        traces, free = free, [trace for trace in free if trace.triplet_id in shown]
    ctx.output.write_rows("traces.jsonl", traces)
    ctx.output.write_rows("free.jsonl", free)
    triplets = ctx.inputs["index"].record.files["triplets.jsonl"].rows or 0
    counts: Counts = {
        "triplets": triplets,
        "without_material": triplets - len(materials),
        "traces": len(traces),
        "from_masks": sum(trace.source == "pixel" for trace in traces),
        "malformed": _malformed(traces),
        "free": len(free),
        "free_malformed": _malformed(free),
    }
    return Result(counts | used, models=_models(traces, free))


STAGE = Stage(
    name="traces",
    summary="Composes a reasoning trace for each question from the image's findings and the knowledge.",
    revision=3,
    after=("index", "knowledge", "findings"),
    slice_type=TracesSlice,
    select=_select,
    run=run,
    prompts=("trace", "free"),
)
