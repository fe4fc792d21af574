"""The verb that compares two runs."""

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

SideArgument = Annotated[
    Path, typer.Argument(help="A spec, the folder of a run, or the record.json of a stage's output.")
]


def _side(path: Path, overrides: Sequence[str]) -> RunSpec | Record:
    from pydantic import ValidationError

    from fundus_r1.errors import SpecError
    from fundus_r1.local.run import SPEC
    from fundus_r1.record import Record
    from fundus_r1.spec import load_spec

    if path.suffix != ".json":
        return load_spec(path / SPEC if path.is_dir() else path, overrides)
    if overrides:
        raise SpecError("--set changes a spec, and a record is none", where=str(path))
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SpecError(f"The record cannot be read: {error.strerror}", where=str(path)) from error
    except ValidationError as error:
        raise SpecError(
            f"The file is no record: {error.errors()[0]['msg']}",
            where=str(path),
            hint="a stage's output has one: <stage>/<fingerprint>/record.json in the store",
        ) from error


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
