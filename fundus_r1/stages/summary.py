"""What the pipeline UI shows of an output: Markdown, figures, a confusion matrix."""

from __future__ import annotations

from typing import Any

from fundus_r1.rows import FindingQuality, Leak
from fundus_r1.storage.output import StageOutput


def markdown(output: StageOutput) -> str:
    """Counts and provenance of one output; for the index, the leaked images by name as well."""
    record = output.record
    lines = [f"# {record.stage}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in record.counts.items()]
    lines += [f"| {role} (model) | {model} |" for role, model in record.models.items()]
    lines += [f"| fingerprint | `{record.short}` |", f"| seconds | {record.seconds:.1f} |"]
    if "leaks.jsonl" in output:
        leaks = list(output.read_rows("leaks.jsonl", Leak))
        lines += ["", f"**{len(leaks)} training images leaked into a benchmark and were left out.**", ""]
        lines += [
            f"- `{leak.sample_id}`: {leak.kind} is in {leak.benchmark} (`{leak.benchmark_image}`)"
            for leak in leaks
        ]
    if "funnel.json" in output:
        lines += _funnel(output.read_json("funnel.json"))
    return "\n".join(lines) + "\n"


def _funnel(funnel: dict[str, Any]) -> list[str]:
    """Why traces were rejected, by the rules and by the writer, and where the two disagree."""
    lines = ["", "Rejected because of:", "", "| reason | rules | writer |", "|---|---|---|"]
    for reason in funnel["reasons"]:
        lines.append(
            f"| {reason} | {funnel['by_rules'].get(reason, 0)} | {funnel['by_writer'].get(reason, 0)} |"
        )
    compared, table = funnel["agreement"]["traces"], funnel["agreement"]["table"]
    if compared:
        lines += ["", f"Rules and writer compared over {compared} traces:", ""]
        lines += ["| | writer accepts | writer rejects |", "|---|---|---|"]
        for mine, words in (("accepted", "rules accept"), ("rejected", "rules reject")):
            lines.append(f"| {words} | {table[mine]['accepted']} | {table[mine]['rejected']} |")
    return lines


def metrics(output: StageOutput) -> dict[str, float]:
    """The counts that are numbers, for the pipeline UI's comparison of runs."""
    return {
        name: float(value) for name, value in output.record.counts.items() if isinstance(value, int | float)
    }


def confusion(output: StageOutput) -> tuple[list[str], list[list[int]]] | None:
    """The observer's findings against the masks, over all findings (paper, Tab. 6).

    Returns:
        Categories and counts, a row for what the masks say; None if no image has masks.
    """
    rows = [row for row in output.read_rows("finding_quality.jsonl", FindingQuality) if row.method == "ours"]
    hits = sum(round((row.sensitivity or 0.0) * row.positives) for row in rows)
    positives = sum(row.positives for row in rows)
    negatives = sum(row.images - row.positives for row in rows)
    rejected = sum(round((row.specificity or 0.0) * (row.images - row.positives)) for row in rows)
    if not positives + negatives:
        return None
    return ["present", "absent"], [[hits, positives - hits], [negatives - rejected, rejected]]
