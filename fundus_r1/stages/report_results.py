"""What the report says of results: scores beside the paper's rows, and the gallery."""

from __future__ import annotations

from collections.abc import Iterable

from fundus_r1.benchmarks import paper_tables as paper
from fundus_r1.benchmarks.scores import METRICS, OMNI_TASKS
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.plots.card import Card
from fundus_r1.plots.highlight import pieces
from fundus_r1.plots.thumbnail import thumbnail
from fundus_r1.prompts.student import parse_student
from fundus_r1.rows import Score
from fundus_r1.stages.report_view import Outputs, View, finding_names, percent

PAPER_FUNNEL = {
    "samples": float(paper.SAMPLES),
    "traces composed": float(paper.TRACES),
    "traces retained": float(paper.ACCEPTED),
}
MODELS = {"base": "base", "sft": "after SFT", "grpo": "after GRPO"}
TITLES = {"funbench": "FunBench (F1, %)", "omnimedvqa": "Omni-Fundus (accuracy, %)"}
SOURCES = {"synthetic": "on drawn images in the benchmark's format", "given": "on the questions given"}
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "funbench": ("level", ("L1", "L2", "L3", "L4")),
    "omnimedvqa": ("task", OMNI_TASKS),
}


def paper_finding_quality() -> list[View]:
    """The paper's Tab. 6: its own method, and free-form traces of Qwen3-VL-Plus."""
    return [
        {
            "finding": FINDINGS[row.finding].name if row.finding in FINDINGS else row.finding,
            "figures": (
                *(row.sensitivity, row.specificity, row.s2),
                *(row.other_sensitivity, row.other_specificity, row.other_s2),
            ),
        }
        for row in paper.TABLE_6
    ]


def _paper_rows(benchmark: str) -> list[View]:
    rows = []
    for row in paper.TABLE_5:
        if benchmark == "funbench":
            values = [row.funbench, *row.funbench_levels.values()]
        else:
            values = [row.omni_fundus, *row.omni_fundus_tasks.values()]
        rows.append({"name": f"{row.setup}: {row.name}", "values": values})
    return rows


def results(outputs: Outputs) -> View:
    """One table a benchmark and source: models down, overall and parts across."""
    scores = list(outputs["evaluate"].read_rows("scores.jsonl", Score))
    tables = []
    for benchmark, source in sorted({(row.benchmark, row.source) for row in scores}):
        mine = [row for row in scores if (row.benchmark, row.source) == (benchmark, source)]
        level, names = PARTS[benchmark]
        found = {(row.model, row.name): row for row in mine if row.level == level}
        overall = {row.model: row for row in mine if row.level == "overall"}
        rows = [
            {
                "name": MODELS.get(model, model),
                "values": [percent(overall[model].value)]
                + [percent(row.value) if (row := found.get((model, name))) else None for name in names],
            }
            for model in sorted(overall, key=[*MODELS, *sorted(overall)].index)
        ]
        asked = max(row.questions for row in overall.values())
        tables.append(
            {
                "title": f"{TITLES[benchmark]}, {SOURCES[source]}",
                "columns": ["overall", *names],
                "rows": rows,
                "paper": _paper_rows(benchmark),
                "note": f"{asked} questions. A dash means that no such question was asked"
                + (
                    ", or that sensitivity or specificity is not defined."
                    if METRICS[benchmark] == "f1"
                    else "."
                ),
            }
        )
    if not tables:
        return {"sentence": "No benchmark was given.", "tables": []}
    return {
        "sentence": "The same questions before and after training, the same prompt for each model. "
        "With so few questions a figure is uncertain by many points.",
        "tables": tables,
    }


def gallery(kept: Iterable[tuple[Card, bytes]]) -> list[View]:
    """Images with findings, trace and verdict, as the page shows a few of them.

    Args:
        kept: cards and their images.
    """
    shown = []
    for card, image in kept:
        told = parse_student(card.trace.text)
        shown.append(
            {
                "image": thumbnail(image),
                "label": card.label_name,
                "modality": card.trace.modality,
                "dataset": card.sample.dataset,
                "source": card.trace.source,
                "findings": finding_names(card.trace.findings),
                "think": pieces(told.think or card.trace.text, card.trace.findings),
                "question": card.triplet.question,
                "answer": told.answer or "",
                "accepted": card.verdict.accepted,
                "reasons": [
                    f"{reason.value.replace('_', ' ')}: {detail}" for reason, detail in card.verdict.reasons
                ],
            }
        )
    return shown
