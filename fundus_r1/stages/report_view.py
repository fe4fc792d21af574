"""What the report says of the data: census, leakage, vocabulary, findings, traces.

Each function turns outputs of stages into the plain values that ``plots/report.html.j2`` shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from fundus_r1.benchmarks.metrics import mean
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.plots.svg import bar_chart, row_chart
from fundus_r1.rows import FindingQuality, Knowledge, Leak, Quarantined, VocabularyEntry
from fundus_r1.spec import Science
from fundus_r1.storage.output import StageOutput

Outputs = dict[str, StageOutput]
View = dict[str, Any]

QUARANTINE_SHOWN = 20


def label_name(key: str) -> str:
    """A label as people read it."""
    return LABELS[key].name


def finding_names(keys: tuple[str, ...] | list[str]) -> list[str]:
    """Findings as people read them."""
    return [FINDINGS[key].name for key in keys]


def percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def census(outputs: Outputs) -> View:
    index = outputs["index"]
    rows: dict[tuple[str, str, str], dict[str, int]] = defaultdict(
        lambda: {"train": 0, "validation": 0, "masked": 0}
    )
    for row in index.read_json("census.json"):
        cell = rows[row["dataset"], row["modality"], row["label"]]
        cell[row["split"]] += row["samples"]
        cell["masked"] += row["masked"]
    bad = list(index.read_rows("quarantine.jsonl", Quarantined))
    counts = index.record.counts
    return {
        "sentence": f"{counts['samples']} images were read into {counts['triplets']} question-answer "
        f"pairs; {len(bad)} inputs could not be used. An image with several labels counts for each.",
        "rows": [
            {"dataset": dataset, "modality": modality, "label": label_name(label), **cell}
            for (dataset, modality, label), cell in sorted(rows.items())
        ],
        "quarantined": bad[:QUARANTINE_SHOWN],
        "more": max(0, len(bad) - QUARANTINE_SHOWN),
    }


def leakage(outputs: Outputs) -> View:
    rows = list(outputs["index"].read_rows("leaks.jsonl", Leak))
    same = sum(row.kind == "content" for row in rows)
    if not rows:
        sentence = "No training image, and no patient of one, occurs in the benchmarks of this run."
    else:
        sentence = (
            f"{len(rows)} training images leaked and were left out: {same} are benchmark images, "
            f"{len(rows) - same} more show a patient of a benchmark."
        )
    return {"sentence": sentence, "rows": rows}


def vocabulary(outputs: Outputs) -> list[View]:
    knowledge = {
        (row.label, row.modality): row for row in outputs["knowledge"].read_rows("knowledge.jsonl", Knowledge)
    }
    return [
        {
            "label": label_name(entry.label),
            "modality": entry.modality,
            "required": finding_names(entry.required),
            "supportive": finding_names(entry.supportive),
            "absent": finding_names(entry.absent),
            "passages": len(knowledge[entry.label, entry.modality].passages),
        }
        for entry in outputs["knowledge"].read_rows("vocabulary.jsonl", VocabularyEntry)
    ]


def findings(outputs: Outputs, science: Science, paper: list[View]) -> View:
    """Votes of the observer, and the quality of findings against masks.

    Args:
        paper: rows of the paper's Tab. 6, in percent.
    """
    output = outputs["findings"]
    counts = output.record.counts
    histogram = {str(votes): float(n) for votes, n in output.read_json("votes.json")["histogram"].items()}
    told = ", ".join(f"{name} {value}" for name, value in counts.items())
    return {
        "sentence": f"Observer: {output.record.models.get('observer', 'none')}. {told}.",
        "rollouts": science.findings.rollouts,
        "votes_over": science.findings.votes_over,
        "histogram": bar_chart(histogram, title="Histogram of votes", x_name="votes for present"),
        "quality": finding_table(outputs["evaluate"].read_rows("finding_quality.jsonl", FindingQuality)),
        "observer": output.record.models.get("observer", "none"),
        "free_form": outputs["traces"].record.models.get("free_form"),
        "paper": paper,
    }


def finding_table(rows: Iterable[FindingQuality]) -> list[View]:
    """The rows of Tab. 6: Sen., Spe. and S2 of the vote and of free-form traces, averages last."""
    by_finding: dict[str, dict[str, FindingQuality]] = defaultdict(dict)
    for row in rows:
        by_finding[row.finding][row.method] = row
    table: list[View] = []
    for finding, of in sorted(by_finding.items()):
        figures = [
            percent(getattr(of[method], figure)) if method in of else None
            for method in ("ours", "free")
            for figure in ("sensitivity", "specificity", "s2")
        ]
        one = next(iter(of.values()))
        name = FINDINGS[finding].name if finding in FINDINGS else finding
        table.append({"finding": name, "images": one.images, "positives": one.positives, "figures": figures})
    if table:
        columns = zip(*(row["figures"] for row in table), strict=True)
        average = [mean(column) for column in columns]
        table.append({"finding": "average", "images": "", "positives": "", "figures": average})
    return table


def quality(outputs: Outputs, paper_funnel: dict[str, float]) -> View:
    """The funnel, the reasons of both opinions, and how far rules and writer agree."""
    funnel = outputs["quality"].read_json("funnel.json")
    steps = {"question-answer pairs": "triplets", "traces composed": "traces", "traces accepted": "accepted"}
    by = funnel["by_source"]
    return {
        "funnel": row_chart(
            {name: float(funnel[key]) for name, key in steps.items()}, title="Funnel of traces"
        ),
        "paper": row_chart(paper_funnel, title="The paper's funnel"),
        "reasons": row_chart(_bars(funnel["by_rules"]), title="Reasons of the rules"),
        "objections": row_chart(_bars(funnel["by_writer"]), title="Reasons of the writer"),
        "agreement": funnel["agreement"],
        "opinions": funnel["writer"],
        "writer": outputs["quality"].record.models.get("writer"),
        "sentence": f"{_composed(outputs['traces'])} Of the traces whose findings come from masks "
        f"{by['pixel']['accepted']} of {by['pixel']['traces']} were accepted, of those from the observer's "
        f"votes {by['observer']['accepted']} of {by['observer']['traces']}.",
    }


def _composed(traces: StageOutput) -> str:
    """Who composed the traces, from what."""
    models, malformed = traces.record.models, traces.record.counts.get("malformed", 0)
    if "writer" in models:
        how = f"from findings and knowledge by {models['writer']}"
    elif "free_form" in models:
        how = f"free-form, from image, question and answer alone, by {models['free_form']}"
    else:
        return "No trace was composed."
    return f"Traces were composed {how}; {malformed} were not of the form that is asked for."


def _bars(reasons: dict[str, int]) -> dict[str, float]:
    ranked = sorted(reasons.items(), key=lambda item: -item[1])
    return {name.replace("_", " "): float(count) for name, count in ranked}
