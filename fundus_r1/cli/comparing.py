"""Verbs that compare runs: field by field, and by what they scored."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fundus_r1.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fundus_r1.record import Record
    from fundus_r1.spec import RunSpec
    from fundus_r1.spec.difference import Difference
    from fundus_r1.stages.compare import Comparison
    from fundus_r1.stages.compare_runs import Row

SideArgument = Annotated[
    str, typer.Argument(help="A spec, the folder of a run, or the record of a run or of a stage's output.")
]


def _side(place: str, overrides: Sequence[str]) -> RunSpec | Record:
    from fundus_r1.errors import SpecError
    from fundus_r1.local.found_runs import read_record
    from fundus_r1.local.run import SPEC
    from fundus_r1.spec import load_spec
    from fundus_r1.stages.runs import RunRecord

    path = Path(place)
    if path.suffix != ".json":
        return load_spec(path / SPEC if path.is_dir() else path, overrides)
    if overrides:
        raise SpecError("--set changes a spec, and a record is none", where=place)
    found = read_record(place)
    return found.spec if isinstance(found, RunRecord) else found


def _shown(value: Any) -> str:
    from fundus_r1.fingerprint import ABSENT

    return "" if value is ABSENT else escape(json.dumps(value, ensure_ascii=False))


def _fields(rows: Sequence[Difference]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("field", "A", "B"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(row.path, _shown(row.a), _shown(row.b))
    return table


def _show(found: Comparison, console: Console) -> None:
    from fundus_r1.fingerprint import SHORT

    groups = {
        "Science: changes results": [row for row in found.fields if row.changes_results],
        "Science: checked before a run, changes no result": [
            row for row in found.fields if row.in_science and not row.changes_results
        ],
        "Name and placement: change no result": [row for row in found.fields if not row.in_science],
    }
    for title, rows in groups.items():
        if rows:
            console.print(title, style="bold")
            console.print(_fields(rows))
            console.print()
    if found.stages:
        console.print("Stages with other outputs", style="bold")
        table = Table(box=None, pad_edge=False)
        for name in ("stage", "A", "B", "first because"):
            table.add_column(name, overflow="fold")
        for stage in found.stages:
            table.add_row(stage.stage, stage.a[:SHORT], stage.b[:SHORT], escape(stage.why))
        console.print(table)
    elif found.fields:
        console.print("All ten stages have the same outputs.")


@app.command()
def diff(
    a: SideArgument,
    b: SideArgument,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override of B, for example science.setup=F.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Shows how two runs differ, field by field, and for which stages; exits with 1 if they do.

    Specs are compared as they stand: a folder of a run holds its resolved spec, in which the digests of
    data are filled in.
    """
    from fundus_r1.stages.compare import compare

    found = compare(_side(a, ()), _side(b, overrides or ()))
    if as_json:
        told = {
            "fields": [row.as_json() for row in found.fields],
            "stages": [vars(stage) for stage in found.stages],
        }
        print(json.dumps(told, ensure_ascii=False, indent=1))
    elif found:
        _show(found, Console(width=None if sys.stdout.isatty() else 160, highlight=False))
    if found:
        raise typer.Exit(1)


HEADS = ("run", "what it trains", "FunBench F1", "Omni-Fundus acc.", "GMAI-Fundus acc.", "average")
_FIELDS_SHOWN = 6


@app.command()
def compare(
    records: Annotated[
        list[str],
        typer.Argument(
            help="Records of runs or of their evaluations, by path or s3:// address; folders of local runs."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A table in Markdown.")] = False,
) -> None:
    """Makes Tab. 5 of any runs: their scores in percent, beside the paper's where it has such a run."""
    from fundus_r1.local.found_runs import find_run
    from fundus_r1.stages.compare_runs import rows, unlike

    runs = [find_run(place) for place in records]
    table, others = rows(runs), unlike(runs)
    if as_json:
        told = {"runs": [row.as_json() for row in table], "unlike": others}
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    lines = [line for row in table for line in _lines(row)]
    notes = [_unlike(label, fields, runs[0].label) for label, fields in others.items()]
    if markdown:
        for cells in (HEADS, ("---",) * len(HEADS), *lines):
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        for note in notes:
            print(f"\n{note}")
        return
    shown = Table(box=None, pad_edge=False)
    for head in HEADS:
        shown.add_column(head, overflow="fold")
    for cells in lines:
        shown.add_row(*map(escape, cells), style="dim" if cells[1] == "the paper" else None)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(shown)
    for note in notes:
        console.print(escape(note))


def _lines(row: Row) -> list[tuple[str, ...]]:
    """A run's line, and the paper's below it where it has one."""
    name = f"{row.setup or '?'}: {row.label}"
    if row.missing:
        return [(name, f"{row.trains}; no result: {row.missing}", "-", "-", "-", "-")]
    figures = [
        "-" if figure is None else f"{_figure(figure.value)} (n={figure.questions})" for figure in row.figures
    ]
    lines = [(name, f"{row.trains}; {row.model}, {row.source}", *figures, _figure(row.average))]
    if row.paper:
        beside = [*map(_figure, row.paper.values), _figure(row.paper.average)]
        lines.append((f"   {row.paper.name} (Tab. {row.paper.table})", "the paper", *beside))
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _unlike(label: str, fields: list[str], first: str) -> str:
    told = ", ".join(fields[:_FIELDS_SHOWN])
    more = len(fields) - _FIELDS_SHOWN
    return (
        f"Not like {first}, beside the setup: {label} in {told}"
        + (f" and {more} more fields" if more > 0 else "")
        + " (fundus-r1 diff shows the values)."
    )
