"""Options that several verbs share, and the spec that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fundus_r1.spec import RunSpec, load_spec

SpecOption = Annotated[Path, typer.Option("--spec", help="YAML of the run, or JSON of one stage's slice.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override, for example science.sft.epochs=1.")
]
DataOption = Annotated[
    list[Path] | None, typer.Option("--data", help="Folder with datasets and benchmarks; may be repeated.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the run's outputs.")]
PlacementOption = Annotated[
    Path | None,
    typer.Option("--placement", help="YAML with fields of the placement; they win over those of the spec."),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Take knowledge from kept pages only; contact nobody.")
]

DEFAULT_OUT = Path("out/demo")


def read_spec(
    spec: Path,
    overrides: list[str] | None,
    data: list[Path] | None,
    *,
    offline: bool = False,
    placement: Path | None = None,
) -> RunSpec:
    """The spec of a run with what the command line changes of it."""
    from fundus_r1.local.run import with_data

    forced = ["placement.retrieval.offline=true"] if offline else []
    return with_data(load_spec(spec, [*(overrides or ()), *forced], placement), data or [])
