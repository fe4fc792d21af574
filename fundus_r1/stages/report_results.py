"""What the report says of results: scores beside the paper's rows, and the gallery."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from fundus_r1.benchmarks import paper_tables as paper
from fundus_r1.benchmarks.metrics import mean
from fundus_r1.benchmarks.scores import METRICS, TASKS
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
TITLES = {
    "funbench": "FunBench (F1, %)",
    "omnimedvqa": "Omni-Fundus (accuracy, %)",
    "gmai": "GMAI-Fundus (accuracy, %)",
}
SOURCES = {"synthetic": "on drawn images in the benchmark's format", "given": "on the questions given"}
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "funbench": ("level", ("L1", "L2", "L3", "L4")),
    "omnimedvqa": ("task", TASKS["omnimedvqa"]),
    "gmai": ("task", TASKS["gmai"]),
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
        elif benchmark == "omnimedvqa":
            values = [row.omni_fundus, *row.omni_fundus_tasks.values()]
        else:
            values = [row.gmai_fundus, *row.gmai_fundus_tasks.values()]
        rows.append({"name": f"{row.setup}: {row.name}", "values": values})
    return rows


def _together(scores: Sequence[Score]) -> list[View]:
    """Tab. 7, one table a source: models down, the three benchmarks and their mean across.

    There is no mean of fewer than three: it could be taken for the paper's.
    """
    tables = []
    for source in sorted({row.source for row in scores}):
        overall = {
            (row.model, row.benchmark): percent(row.value)
            for row in scores
            if row.level == "overall" and row.source == source
        }
        rows = []
        for model in _ordered({model for model, _ in overall}):
            values = [overall.get((model, benchmark)) for benchmark in TITLES]
            rows.append(
                {
                    "name": MODELS.get(model, model),
                    "values": [*values, None if None in values else mean(values)],
                }
            )
        tables.append(
            {
                "title": f"All benchmarks (Tab. 7, %), {SOURCES[source]}",
                "columns": [*(title.partition(" (")[0] for title in TITLES.values()), "average"],
                "rows": rows,
                "paper": [
                    {
                        "name": f"{row.model}, {row.group}",
                        "values": [row.funbench, row.omni_fundus, row.gmai_fundus, row.average],
                    }
                    for row in paper.TABLE_7
                ],
                "note": "The average is that of the three benchmarks; a dash where one was not asked.",
            }
        )
    return tables


def _ordered(models: Collection[str]) -> list[str]:
    """The models of a run in the order in which they were made, then others."""
    return sorted(models, key=[*MODELS, *sorted(models)].index)


def results(outputs: Outputs) -> View:
    """One table a benchmark and source: models down, overall and parts across; then Tab. 7."""
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
            for model in _ordered(overall)
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
        "tables": tables + _together(scores),
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
