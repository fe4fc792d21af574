"""The verb that pins a spec."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fundus_r1.cli.app import app
from fundus_r1.cli.options import DataOption, PlacementOption

LEFT_OPEN = 3
"""Exit code where something is left `unpinned`."""


@app.command()
def pin(
    spec: Annotated[Path, typer.Argument(help="YAML of the run.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; else the spec itself.")
    ] = None,
    data: DataOption = None,
    placement: PlacementOption = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of a run here, whose store has kept pages.")
    ] = None,
) -> None:
    """Looks up what a spec leaves unpinned and writes it into the file; comments and order stay.

    Commits are asked of the hub (HF_ENDPOINT, HF_TOKEN), manifests computed from the data folders, the
    snapshot taken from the store. What cannot be had stays unpinned, and the exit code is then 3.
    """
    from fundus_r1.datasets.bucket import data_cache, data_folder
    from fundus_r1.fingerprint import SHORT
    from fundus_r1.local.run import open_place, with_data
    from fundus_r1.spec import load_spec
    from fundus_r1.stages.pinning import look_up, written
    from fundus_r1.stages.resolve import places_store
    from fundus_r1.storage import open_store

    wanted = with_data(load_spec(spec, placement=placement), data or [])
    cache, places = data_cache(wanted.placement), places_store(wanted)
    folders = [data_folder(entry, cache, places) for entry in wanted.placement.data]
    place = open_place(wanted, run.resolve()) if run is not None else nullcontext(wanted)
    with place as placed:
        store = placed.placement.store
        found = look_up(wanted, folders, open_store(store) if store.is_placed else None)
    text = spec.read_text(encoding="utf-8")
    target = out or spec
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(written(text, wanted, found), encoding="utf-8")
    table = Table(box=None, pad_edge=False)
    for title in ("what", "before", "after", "from, or why not"):
        table.add_column(title, overflow="fold")
    for row in found:
        table.add_row(row.path, row.before[:SHORT], (row.after or row.before)[:SHORT], escape(row.why))
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if found:
        console.print(table)
    left = sum(row.after is None for row in found)
    console.print(
        f"{len(found) - left} pinned, {left} left open: {escape(str(target))}"
        if found
        else f"Everything is pinned: {escape(str(target))}",
        soft_wrap=True,
    )
    if left:
        raise typer.Exit(LEFT_OPEN)
