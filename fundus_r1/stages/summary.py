"""A stage's record as Markdown, for the pipeline UI."""

from __future__ import annotations

from fundus_r1.rows import Leak
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
        reasons = output.read_json("funnel.json")["reasons"]
        lines += ["", "Rejected because of:", "", *[f"- {name}: {count}" for name, count in reasons.items()]]
    return "\n".join(lines) + "\n"


def metrics(output: StageOutput) -> dict[str, float]:
    """The counts that are numbers, for the pipeline UI's comparison of runs."""
    return {
        name: float(value) for name, value in output.record.counts.items() if isinstance(value, int | float)
    }
