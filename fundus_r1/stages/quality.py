"""Stage 5, ``quality``: the automatic check of the traces, with typed reasons (paper, Sec. 3.2.3).

The rules see every trace. With ``checks: rules+writer`` the writer is then asked about those that
passed; it can reject a trace but never rescue one. Of what the rules rejected it is shown a share,
drawn by the triplet's id, so that it is known how often the two disagree, in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_r1.errors import StageError
from fundus_r1.fingerprint import sha256
from fundus_r1.models.protocol import ChatAnswer, ChatModel, ChatRequest
from fundus_r1.models.rules_check import check
from fundus_r1.prompts.material import CHECK_SCHEMA, Material, Reasons, check_question, read_check
from fundus_r1.rows import Reason, Trace, Verdict
from fundus_r1.spec import Spec
from fundus_r1.spec.models import Chat
from fundus_r1.spec.science import QualityScience, Science
from fundus_r1.stages.agreement import funnel
from fundus_r1.stages.base import Context, Counts, Result, Stage
from fundus_r1.stages.batches import in_batches
from fundus_r1.stages.material import gather
from fundus_r1.stages.writing import open_writer

Case = tuple[Material, Trace]


class QualitySlice(Spec):
    """What of the science the verdicts depend on."""

    quality: QualityScience
    writer: Chat | None
    """None where the writer is not asked."""


def _select(science: Science) -> QualitySlice:
    asked = science.quality.checks == "rules+writer"
    return QualitySlice(quality=science.quality, writer=science.models.writer if asked else None)


def _cases(ctx: Context[QualitySlice]) -> list[Case]:
    """Each trace with what it was composed from, in the order of the traces."""
    materials = {material.triplet.triplet_id: material for material in gather(ctx.inputs)}
    cases = []
    for trace in ctx.inputs["traces"].read_rows("traces.jsonl", Trace):
        if trace.triplet_id not in materials:
            raise StageError(
                "A trace belongs to no triplet with findings",
                where=f"triplet {trace.triplet_id}",
                hint="the stages index, findings and traces do not fit together; run them again",
            )
        cases.append((materials[trace.triplet_id], trace))
    return cases


def audited(triplet_id: str, share: float) -> bool:
    """Whether a trace that the rules reject is shown to the writer: the same whatever else there is."""
    return int(sha256(f"audit:{triplet_id}".encode())[:12], 16) < share * 16**12


def _asked(writer: ChatModel, cases: Sequence[Case]) -> list[ChatAnswer]:
    requests = [
        ChatRequest(
            task="check",
            messages=(("user", check_question(material, trace.text)),),
            inputs={**material.inputs(), "trace": trace.text},
            schema=CHECK_SCHEMA,
        )
        for material, trace in cases
    ]
    return writer.complete(requests)


def verdict(trace: Trace, rules: Reasons, answer: ChatAnswer | None) -> Verdict:
    """Both opinions of one trace; it is accepted if neither rejects.

    Args:
        trace: the trace.
        rules: what the rules have against it.
        answer: what the writer said of it; None if it was not asked.
    """
    objections = read_check(answer.text) if answer else []
    if objections is None:
        writer, objections = "unreadable", [(Reason.UNREADABLE, "the writer's answer could not be read")]
    else:
        writer = "not_asked" if answer is None else "rejected" if objections else "accepted"
    return Verdict.model_validate(
        {
            "triplet_id": trace.triplet_id,
            "sample_id": trace.sample_id,
            "accepted": not rules and not objections,
            "rules": rules,
            "writer": writer,
            "objections": objections,
            "model": answer.model if answer else None,
        }
    )


def run(ctx: Context[QualitySlice]) -> Result:
    """Writes ``verdicts.jsonl``, in the order of the traces, and ``funnel.json``."""
    chat, share = ctx.science.writer, ctx.science.quality.audit_share
    cases = _cases(ctx)
    writer = open_writer(ctx, chat) if chat and cases else None

    def judge(batch: Sequence[Case]) -> list[Verdict]:
        rules = [check(material, trace.text) for material, trace in batch]
        answers: dict[int, ChatAnswer] = {}
        if writer is not None:
            asked = [
                place
                for place, (_, trace) in enumerate(batch)
                if not rules[place] or audited(trace.triplet_id, share)
            ]
            if asked:
                answers = dict(
                    zip(asked, _asked(writer.model, [batch[place] for place in asked]), strict=True)
                )
        return [verdict(trace, rules[place], answers.get(place)) for place, (_, trace) in enumerate(batch)]

    verdicts = in_batches(ctx, cases, judge, Verdict, "traces", lanes=writer.lanes if writer else 1)
    ctx.output.write_rows("verdicts.jsonl", verdicts)
    triplets = ctx.inputs["index"].record.files["triplets.jsonl"].rows
    counted = funnel([trace.source for _, trace in cases], verdicts, triplets)
    ctx.output.write_json("funnel.json", counted)
    counts: Counts = {
        "traces": counted["traces"],
        "accepted": counted["accepted"],
        **{f"rejected_{reason}": count for reason, count in counted["reasons"].items()},
        **{f"check_{opinion}": count for opinion, count in counted["writer"].items() if writer},
        **(writer.counts() if writer else {}),
    }
    answered = sorted({row.model for row in verdicts if row.model})
    return Result(counts, models={"writer": ", ".join(answered)} if answered else {})


STAGE = Stage(
    name="quality",
    summary="Checks each trace against findings, knowledge and answer; rejects with typed reasons.",
    revision=2,
    after=("index", "knowledge", "findings", "traces"),
    slice_type=QualitySlice,
    select=_select,
    run=run,
    prompts=("check",),
)
