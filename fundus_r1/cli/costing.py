"""The table of `fundus-r1 plan --cost`, and below it all that it was computed from."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fundus_r1.local.costs import Estimate
from fundus_r1.stages.cost import Asked, StageCost

_STEPS = (("G", 1e9), ("M", 1e6), ("k", 1e3))


def short(value: float, unit: str = "") -> str:
    """A number in three digits: ``98.1 M``; a dash for nothing."""
    if not value:
        return "-"
    for letter, step in _STEPS:
        if value >= step:
            return (
                f"{value / step:.3g} {letter}{unit}"
                if value < 1000 * step
                else f"{value / step:,.0f} {letter}{unit}"
            )
    return f"{value:.0f} {unit}".strip() if value >= 1 else f"<1 {unit}".strip()


def _hours(hours: float | None) -> str:
    if hours is None:
        return "not known"
    return f"{hours:,.1f}" if hours >= 0.1 else "<0.1"


def _usd(usd: float | None) -> str:
    return "no price" if usd is None else f"{usd:,.2f}"


def _cells(asked: Asked | None, priced: bool) -> list[str]:
    if asked is None:
        return [""] * (6 if priced else 5)
    cells = [asked.role, short(asked.requests), short(asked.prompt_tokens), short(asked.completion_tokens)]
    cells.append(_hours(asked.gpu_hours))
    return [*cells, _usd(asked.usd)] if priced else cells


def table(stages: Sequence[StageCost]) -> Table:
    """One line for each model of each stage, and a line of sums."""
    rows = [row for stage in stages for row in stage.asked]
    priced = any(row.usd is not None for row in rows)
    found = Table(box=None, pad_edge=False)
    found.add_column("stage")
    found.add_column("asks")
    for title in (
        "requests",
        "prompt tokens",
        "completion tokens",
        "GPU-hours",
        *(["USD"] if priced else []),
    ):
        found.add_column(title, justify="right")
    found.add_column("store", justify="right")
    for stage in stages:
        if stage.hit:
            found.add_row(stage.stage, "in the store", *[""] * (5 if priced else 4), "-")
            continue
        for number, row in enumerate(stage.asked or (None,)):
            name, size = (stage.stage, short(stage.store_bytes, "B")) if number == 0 else ("", "")
            found.add_row(name, *_cells(row, priced), size)
    total = Asked(
        "",
        sum(row.requests for row in rows),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
        sum(row.gpu_hours or 0.0 for row in rows),
        sum(row.usd or 0.0 for row in rows),
    )
    found.add_section()
    found.add_row("together", *_cells(total, priced), short(sum(s.store_bytes for s in stages), "B"))
    return found


def show(estimate: Estimate, console: Console) -> None:
    """Prints an estimate with its quantities and assumptions."""
    console.print(table(estimate.stages))
    console.print()
    for warning in estimate.warnings:
        console.print(f"{warning}.", highlight=False, soft_wrap=True)
    console.print("Estimated, not measured. GPU-hours hold for the GPU of placement.cost.gpu_tflops;")
    console.print("where they are not known, the model answers elsewhere and its size is nowhere stated.")
    console.print()
    counted = Table("quantity", "", "where it comes from", box=None, pad_edge=False)
    for told in estimate.told:
        counted.add_row(told.name, f"{told.value:,.0f}", escape(told.origin))
    console.print(counted)
    console.print()
    assumed = Table("assumption", "value", "reason", box=None, pad_edge=False)
    for row in estimate.assumed:
        assumed.add_row(row.path, f"{row.value:,g}", escape(row.reason))
    console.print(assumed)
