"""Stage 10, ``report``: one self-contained page with what the run read, made, trained and scored.

Beside it lies the trace gallery: ``gallery/`` with all traces, ``gallery.html`` with some in one file.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

from fundus_r1.plots.page import render_page
from fundus_r1.spec import Recipe, Science, Spec, assumed_values
from fundus_r1.spec.pins import unpinned
from fundus_r1.stages import STAGES
from fundus_r1.stages import report_view as view
from fundus_r1.stages.base import Context, Result, Stage
from fundus_r1.stages.gallery import chosen, heading, write_gallery
from fundus_r1.stages.report_results import PAPER_FUNNEL, gallery, paper_finding_quality, results
from fundus_r1.stages.report_sources import kept_out, support
from fundus_r1.stages.report_training import training
from fundus_r1.storage.output import StageOutput

SHOWN_TRACES = 12
"""Traces on the page itself."""
BEFORE = STAGES[: STAGES.index("report")]


class ReportSlice(Spec):
    """The whole science: the report lists all assumed values."""

    science: Science


def setup_words(recipe: Recipe) -> str:
    """What a setup trains with, in words."""
    if not (recipe.sft or recipe.grpo):
        return "the student as it is, nothing trained"
    parts = [name for name, on in (("SFT", recipe.sft), ("GRPO", recipe.grpo)) if on]
    traces = "with reasoning traces" if recipe.traces else "without reasoning traces"
    process = {
        "none": "",
        "vf": ", process reward from the findings alone",
        "dk": ", process reward from the knowledge alone",
        "selective": ", process reward as in Eq. 4",
        "sum": ", process reward as the sum of both terms",
    }[recipe.process]
    return f"{' + '.join(parts)} {traces}{process}"


def warnings(science: Science) -> list[str]:
    """Plain sentences that nobody may miss."""
    said = []
    if science.models.student.kind == "tiny":
        said.append(
            "The model of this run is tiny and random: it has learnt nothing before this run, "
            "so scores near chance are expected."
        )
    if science.index.synthetic is not None:
        said.append("Synthetic images are drawings for testing the system, not medical data.")
    if pins := unpinned(science):
        said.append(
            f"Not pinned, so this run cannot be made again exactly: {', '.join(pin.path for pin in pins)}."
        )
    said.append("This is research software, not a medical device.")
    return said


def _card(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, float):
        return {"name": name, "value": f"{value:.3g}"}
    return {"name": name, "value": "–" if value is None else str(value)}


def _cards(outputs: dict[str, StageOutput]) -> list[dict[str, str]]:
    counts = {name: output.record.counts for name, output in outputs.items()}
    funnel = outputs["quality"].read_json("funnel.json")
    wanted = [
        ("training images", counts["index"].get("samples")),
        ("of them with lesion masks", counts["index"].get("masked")),
        ("left out as leaked", counts["index"].get("leaked")),
        ("question-answer pairs", counts["index"].get("triplets")),
        ("traces accepted", funnel["accepted"]),
        ("SFT loss, first", counts["sft"].get("first_loss")),
        ("SFT loss, last", counts["sft"].get("last_loss")),
        ("GRPO steps", counts["grpo"].get("steps")),
    ]
    return [_card(name, value) for name, value in wanted]


def _provenance(outputs: dict[str, StageOutput]) -> list[dict[str, Any]]:
    return [
        {
            "stage": name,
            "fingerprint": outputs[name].record.short,
            "seconds": outputs[name].record.seconds,
            "made": outputs[name].record.finished.strftime("%Y-%m-%d %H:%M:%S"),
            "models": ", ".join(f"{role}: {model}" for role, model in outputs[name].record.models.items()),
        }
        for name in BEFORE
    ]


def run(context: Context[ReportSlice]) -> Result:
    """Writes ``report.html``, ``gallery.html`` and ``gallery/``."""
    science, outputs = context.science.science, context.inputs
    words = f"Setup {science.setup} of the paper's Tab. 5: {setup_words(science.recipe)}."
    picked = chosen(outputs, SHOWN_TRACES)
    written = write_gallery(context.output, outputs, heading(outputs, words), keep=set(picked))
    page = render_page(
        {
            "setup": science.setup,
            "setup_words": setup_words(science.recipe),
            "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "warnings": warnings(science),
            "cards": _cards(outputs),
            "results": results(outputs),
            "gallery": gallery(written.kept),
            "traces": written.traces,
            "census": view.census(outputs),
            "leakage": view.leakage(outputs),
            "vocabulary": view.vocabulary(outputs),
            "support": support(outputs),
            "kept_out": kept_out(outputs),
            "findings": view.findings(outputs, science, paper_finding_quality()),
            "quality": view.quality(outputs, PAPER_FUNNEL),
            "training": training(outputs, science.recipe.process),
            "assumed": [
                {
                    "path": row.path,
                    "value": json.dumps(row.value, default=lambda model: model.model_dump()),
                    "reason": row.reason,
                }
                for row in assumed_values(science)
            ],
            "provenance": _provenance(outputs),
        }
    )
    data = page.encode()
    context.output.write_bytes("report.html", data)
    return Result(counts={"bytes": len(data), "traces": written.traces})


STAGE: Stage[ReportSlice] = Stage(
    name="report",
    summary="one self-contained HTML page about the run, and a gallery of its traces",
    revision=3,
    after=BEFORE,
    slice_type=ReportSlice,
    select=lambda science: ReportSlice(science=science),
    run=run,
)
