"""Verbs that look at what a run made: one image's way, and the training data for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from fundus_r1.cli.app import app
from fundus_r1.cli.options import DEFAULT_OUT, DataOption, OutOption, SetOption, SpecOption, read_spec
from fundus_r1.errors import SpecError, StageError


@app.command()
def show(
    sample: Annotated[str, typer.Argument(help="A sample id, or a part of one that no other has.")],
    spec: SpecOption,
    overrides: SetOption = None,
    data: DataOption = None,
    out: OutOption = DEFAULT_OUT,
) -> None:
    """Prints one image's whole way: label, knowledge, votes, trace, verdict, rewards."""
    from fundus_r1.cli.way import print_way
    from fundus_r1.local.run import open_place
    from fundus_r1.stages.resolve import resolve
    from fundus_r1.stages.show import way_of
    from fundus_r1.storage import open_store

    with open_place(resolve(read_spec(spec, overrides, data)), out) as placed:
        way = way_of(sample, placed, open_store(placed.placement.store))
    print_way(way, Console(width=None if sys.stdout.isatty() else 160, highlight=False))


@app.command()
def export(
    tool: Annotated[str, typer.Argument(help="llamafactory or verl.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    spec: SpecOption,
    overrides: SetOption = None,
    data: DataOption = None,
    out: OutOption = DEFAULT_OUT,
) -> None:
    """Writes the training data for LLaMA-Factory (SFT) or verl (GRPO)."""
    from fundus_r1.local.run import open_place
    from fundus_r1.stages.export import NEEDED, Tool
    from fundus_r1.stages.export import export as write
    from fundus_r1.stages.resolve import resolve
    from fundus_r1.stages.show import outputs_of
    from fundus_r1.storage import open_store

    known: dict[str, Tool] = {name: name for name in get_args(Tool)}
    if tool not in known:
        raise SpecError(f"There is no export for {tool!r}", hint=f"the tools are {' and '.join(known)}")
    with open_place(resolve(read_spec(spec, overrides, data)), out) as placed:
        outputs = outputs_of(placed, open_store(placed.placement.store))
        lacking = [name for name in NEEDED[known[tool]] if name not in outputs]
        if lacking:
            raise StageError(
                f"The run has no output of {', '.join(lacking)} yet",
                where=str(out),
                hint="give the spec, --set, --data and --out with which it was started, or run it first",
            )
        counts = write(known[tool], folder, placed.science, outputs)
    for name, count in counts.items():
        print(f"{name}: {count}")
    print(folder)
