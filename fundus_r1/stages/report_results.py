"""What the report says of results: scores beside the paper's rows, and the gallery."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from fundus_r1.benchmarks import paper_tables as paper
from fundus_r1.benchmarks.scores import METRICS, OMNI_TASKS
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.plots.thumbnail import thumbnail
from fundus_r1.prompts.student import parse_student
from fundus_r1.rows import Sample, Score, Trace, Triplet, Verdict
from fundus_r1.stages.report_view import Outputs, View, finding_names, label_name, percent
from fundus_r1.storage.tables import from_parquet

PAPER_FUNNEL = {
    "samples": float(paper.SAMPLES),
    "traces composed": float(paper.TRACES),
    "traces retained": float(paper.ACCEPTED),
}
GALLERY = 12
MODELS = {"base": "base", "sft": "after SFT", "grpo": "after GRPO"}
TITLES = {"funbench": "FunBench (F1, %)", "omnimedvqa": "Omni-Fundus (accuracy, %)"}
SOURCES = {"synthetic": "on drawn images in the benchmark's format", "given": "on the questions given"}
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "funbench": ("level", ("L1", "L2", "L3", "L4")),
    "omnimedvqa": ("task", OMNI_TASKS),
}


def paper_finding_quality() -> list[View]:
    """The paper's Tab. 6, its own method."""
    return [
        {
            "finding": FINDINGS[row.finding].name if row.finding in FINDINGS else row.finding,
            "sensitivity": row.sensitivity,
            "specificity": row.specificity,
            "s2": row.s2,
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


def _chosen(outputs: Outputs) -> list[tuple[Trace, Verdict]]:
    """Some traces of each modality: accepted ones first, spread over labels, always the same."""
    verdicts = {row.triplet_id: row for row in outputs["quality"].read_rows("verdicts.jsonl", Verdict)}
    seen: dict[tuple[Any, ...], int] = {}

    def order(trace: Trace) -> tuple[Any, ...]:
        verdict = verdicts[trace.triplet_id]
        kind = (trace.modality, trace.label, verdict.accepted)
        seen[kind] = seen.get(kind, 0) + 1
        return (seen[kind], not verdict.accepted, hashlib.sha256(trace.triplet_id.encode()).digest())

    ranked = sorted(outputs["traces"].read_rows("traces.jsonl", Trace), key=order)
    by_modality: dict[str, list[Trace]] = {}
    for trace in ranked:
        by_modality.setdefault(trace.modality, []).append(trace)
    share = -(-GALLERY // max(1, len(by_modality)))
    picked = [trace for _, traces in sorted(by_modality.items()) for trace in traces[:share]][:GALLERY]
    return [(trace, verdicts[trace.triplet_id]) for trace in picked]


def _images(outputs: Outputs, wanted: set[str]) -> Iterator[tuple[Sample, bytes]]:
    index = outputs["index"]
    for name in index.names("samples/"):
        for sample, image in from_parquet(index.read_bytes(name), Sample):
            if sample.sample_id in wanted:
                yield sample, image


def gallery(outputs: Outputs) -> list[View]:
    """Images with findings, trace and verdict."""
    chosen = _chosen(outputs)
    images = {s.sample_id: (s, image) for s, image in _images(outputs, {t.sample_id for t, _ in chosen})}
    triplets = {row.triplet_id: row for row in outputs["index"].read_rows("triplets.jsonl", Triplet)}
    shown = []
    for trace, verdict in chosen:
        sample, image = images[trace.sample_id]
        triplet, told = triplets[trace.triplet_id], parse_student(trace.text)
        shown.append(
            {
                "image": thumbnail(image),
                "label": label_name(trace.label),
                "modality": trace.modality,
                "dataset": sample.dataset,
                "source": trace.source,
                "findings": finding_names(trace.findings),
                "think": told.think or trace.text,
                "question": triplet.question,
                "answer": told.answer or "",
                "accepted": verdict.accepted,
                "reasons": [f"{reason.replace('_', ' ')}: {detail}" for reason, detail in verdict.reasons],
            }
        )
    return shown
