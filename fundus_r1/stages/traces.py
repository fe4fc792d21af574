"""Stage 4, ``traces``: the writer composes a reasoning trace for each triplet (paper, Sec. 3.2.3).

Each triplet whose image has findings gets one, conditioned on VF(x) and D[y, m]. Whether it is any
good is the next stage's question.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import ChatRequest
from fundus_r1.prompts.material import Material, trace_question
from fundus_r1.rows import Trace
from fundus_r1.spec import Spec
from fundus_r1.spec.models import Chat
from fundus_r1.spec.science import TracesScience
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.stages.batches import in_batches
from fundus_r1.stages.material import gather


class TracesSlice(Spec):
    """What of the science the traces depend on."""

    traces: TracesScience
    writer: Chat


def _trace(material: Material, text: str, model: str) -> Trace:
    return Trace(
        triplet_id=material.triplet.triplet_id,
        sample_id=material.triplet.sample_id,
        label=material.triplet.label,
        modality=material.triplet.modality,
        findings=material.findings.present,
        source=material.findings.source,
        text=text.strip(),
        model=model,
    )


def run(ctx: Context[TracesSlice]) -> Result:
    """Writes ``traces.jsonl``, in the order of the triplets."""
    writer = open_chat(ctx.science.writer, ctx.placement.endpoints.writer)

    def compose(batch: Sequence[Material]) -> list[Trace]:
        requests = [
            ChatRequest(
                task="trace", messages=(("user", trace_question(material)),), inputs=material.inputs()
            )
            for material in batch
        ]
        answers = writer.complete(requests)
        return [
            _trace(material, answer.text, answer.model)
            for material, answer in zip(batch, answers, strict=True)
        ]

    traces = in_batches(ctx, gather(ctx.inputs), compose, Trace, "traces")
    ctx.output.write_rows("traces.jsonl", traces)
    triplets = ctx.inputs["index"].record.files["triplets.jsonl"].rows
    pixel = sum(trace.source == "pixel" for trace in traces)
    models = ", ".join(sorted({trace.model for trace in traces}))
    return Result(
        {"triplets": triplets, "traces": len(traces), "from_masks": pixel},
        models={"writer": models} if models else {},
    )


STAGE = Stage(
    name="traces",
    summary="Composes a reasoning trace for each question from the image's findings and the knowledge.",
    revision=1,
    after=("index", "knowledge", "findings"),
    slice_type=TracesSlice,
    select=lambda science: TracesSlice(traces=science.traces, writer=science.models.writer),
    run=run,
    prompts=("trace",),
)
