"""Stage 5, ``quality``: the automatic check of the traces, with typed reasons (paper, Sec. 3.2.3).

The rules see every trace. With ``checks: rules+writer`` the writer is then asked about those that
passed; it can reject a trace but never rescue one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fundus_r1.errors import StageError
from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import ChatModel, ChatRequest
from fundus_r1.models.rules_check import Reasons, check
from fundus_r1.prompts.material import CHECK_SCHEMA, Material, check_question, read_check
from fundus_r1.rows import Reason, Row, Trace, Verdict
from fundus_r1.spec import Spec
from fundus_r1.spec.models import Chat
from fundus_r1.spec.science import QualityScience, Science
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.stages.batches import in_batches
from fundus_r1.stages.material import gather

Case = tuple[Material, Trace]


class QualitySlice(Spec):
    """What of the science the verdicts depend on."""

    quality: QualityScience
    writer: Chat | None
    """None where the writer is not asked."""


class Checked(Row):
    """A verdict with the id of the model that was asked, if one was."""

    verdict: Verdict
    model: str | None


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


def _checked(trace: Trace, reasons: Reasons, model: str | None) -> Checked:
    verdict = Verdict(
        triplet_id=trace.triplet_id,
        sample_id=trace.sample_id,
        accepted=not reasons,
        reasons=tuple(reasons),
    )
    return Checked(verdict=verdict, model=model)


def _objections(writer: ChatModel, cases: Sequence[Case]) -> list[tuple[Reasons, str]]:
    """What the writer has against each trace, and the id of the model that answered."""
    answers = writer.complete(
        [
            ChatRequest(
                task="check",
                messages=(("user", check_question(material, trace.text)),),
                inputs={**material.inputs(), "trace": trace.text},
                schema=CHECK_SCHEMA,
            )
            for material, trace in cases
        ]
    )
    found: list[tuple[Reasons, str]] = []
    for answer in answers:
        problems = read_check(answer.text)
        if problems is None:
            problems = ["its answer could not be read"]
        found.append(([(Reason.WRITER, "; ".join(problems))] if problems else [], answer.model))
    return found


def funnel(cases: Sequence[Case], verdicts: Sequence[Verdict], triplets: int | None) -> dict[str, Any]:
    """From triplets to accepted traces; a trace counts once for each of its reasons."""
    reasons = Counter(reason.value for row in verdicts for reason in {reason for reason, _ in row.reasons})
    sources: dict[str, dict[str, int]] = {
        source: {"traces": 0, "accepted": 0} for source in ("pixel", "observer")
    }
    for (_, trace), verdict in zip(cases, verdicts, strict=True):
        sources[trace.source]["traces"] += 1
        sources[trace.source]["accepted"] += verdict.accepted
    return {
        "triplets": triplets,
        "traces": len(verdicts),
        "accepted": sum(verdict.accepted for verdict in verdicts),
        "reasons": {reason.value: reasons[reason.value] for reason in Reason if reasons[reason.value]},
        "by_source": sources,
    }


def run(ctx: Context[QualitySlice]) -> Result:
    """Writes ``verdicts.jsonl``, in the order of the traces, and ``funnel.json``."""
    chat = ctx.science.writer
    writer = open_chat(chat, ctx.placement.endpoints.writer) if chat else None

    def judge(batch: Sequence[Case]) -> list[Checked]:
        found: list[tuple[Reasons, str | None]] = [
            (check(material, trace.text), None) for material, trace in batch
        ]
        passed = [place for place, (reasons, _) in enumerate(found) if not reasons]
        if writer is not None and passed:
            objections = _objections(writer, [batch[place] for place in passed])
            for place, objection in zip(passed, objections, strict=True):
                found[place] = objection
        return [
            _checked(trace, reasons, model) for (_, trace), (reasons, model) in zip(batch, found, strict=True)
        ]

    cases = _cases(ctx)
    checked = in_batches(ctx, cases, judge, Checked, "traces")
    verdicts = [row.verdict for row in checked]
    answered = sorted({row.model for row in checked if row.model})
    ctx.output.write_rows("verdicts.jsonl", verdicts)
    counted = funnel(cases, verdicts, ctx.inputs["index"].record.files["triplets.jsonl"].rows)
    ctx.output.write_json("funnel.json", counted)
    shares: dict[str, int | float | str | None] = {
        "traces": counted["traces"],
        "accepted": counted["accepted"],
        **{f"rejected_{reason}": count for reason, count in counted["reasons"].items()},
    }
    return Result(shares, models={"writer": ", ".join(answered)} if answered else {})


STAGE = Stage(
    name="quality",
    summary="Checks each trace against findings, knowledge and answer; rejects with typed reasons.",
    revision=1,
    after=("index", "knowledge", "findings", "traces"),
    slice_type=QualitySlice,
    select=_select,
    run=run,
    prompts=("check",),
)
