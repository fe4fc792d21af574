"""Verbs that run the pipeline, or say what it would do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fundus_r1.cli.app import app
from fundus_r1.cli.options import (
    DEFAULT_OUT,
    DataOption,
    OfflineOption,
    OutOption,
    PlacementOption,
    SetOption,
    SpecOption,
    read_spec,
)


@app.command()
def run(
    spec: SpecOption,
    overrides: SetOption = None,
    data: DataOption = None,
    out: OutOption = DEFAULT_OUT,
    offline: OfflineOption = False,
    placement: PlacementOption = None,
) -> None:
    """Runs the whole pipeline on this machine; the same command again goes on from what was done."""
    from fundus_r1.local.run import run_here
    from fundus_r1.stages import STAGES

    console = Console()
    wanted = read_spec(spec, overrides, data, offline=offline, placement=placement)
    ended = run_here(wanted, out, console)
    console.print(f"{len(ended.hits)} of {len(STAGES)} stages were in the store.", highlight=False)
    console.print(f"The report is {ended.report}", highlight=False, soft_wrap=True)


@app.command()
def plan(
    spec: SpecOption,
    overrides: SetOption = None,
    data: DataOption = None,
    out: OutOption = DEFAULT_OUT,
    cost: Annotated[
        bool, typer.Option("--cost", help="Estimate requests, tokens, GPU-hours, bytes and dollars instead.")
    ] = False,
    manifests: Annotated[
        Path | None,
        typer.Option(
            "--manifests", help="Write all that would be applied to a cluster into this folder instead."
        ),
    ] = None,
    placement: PlacementOption = None,
) -> None:
    """Lists the ten stages with their fingerprints: which are in the store, which would run, why."""
    from fundus_r1.local.run import plan_here

    wanted = read_spec(spec, overrides, data, placement=placement)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if manifests is not None:
        from fundus_r1.local.manifests import write_manifests

        written = write_manifests(wanted, manifests)
        for name, what in written.files.items():
            console.print(f"{manifests / name}: {what}", highlight=False, soft_wrap=True)
        for line in written.open:
            console.print(f"still to be named: {line}", highlight=False, markup=False, soft_wrap=True)
        return
    if cost:
        from fundus_r1.cli.costing import show
        from fundus_r1.local.costs import cost_here

        show(cost_here(wanted, out), console)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "fingerprint", "would", "why"):
        table.add_column(title, overflow="fold")
    for step in plan_here(wanted, out):
        table.add_row(step.stage, step.short, "hit" if step.record else "run", step.why)
    console.print(table)


@app.command("compile")
def compile_(
    spec: SpecOption,
    overrides: SetOption = None,
    data: DataOption = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("out/pipeline.yaml"),
) -> None:
    """Writes the pipeline for Kubeflow; the same spec gives the same bytes."""
    from fundus_r1.local.pipelines import compile_pipeline
    from fundus_r1.stages.resolve import resolve

    compile_pipeline(resolve(read_spec(spec, overrides, data)), out)
    print(out)


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="index, knowledge, findings, traces, ... report")],
    spec: Annotated[
        str,
        typer.Option(
            "--spec",
            help="YAML of the run, or JSON of one stage's job: a file, or s3://bucket/key in the store.",
        ),
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--inputs", help="record.json of a stage before it; only beside a slice."),
    ] = None,
    overrides: SetOption = None,
    data: DataOption = None,
    out: OutOption = DEFAULT_OUT,
    phase: Annotated[str, typer.Option(help="run; or plan, work of a stage that is spread out.")] = "run",
    worker: Annotated[int, typer.Option(help="Number of the worker, for --phase work.")] = 0,
    offline: OfflineOption = False,
) -> None:
    """Runs one stage against the store that the spec names: what every step and pod runs.

    A spec that names no store gets that of a run in --out.
    """
    from fundus_r1.local.run import open_place, prepare_folder
    from fundus_r1.record import Record
    from fundus_r1.spec.places import S3, scheme_of
    from fundus_r1.stages.address import read_address
    from fundus_r1.stages.job import job_of, load_job
    from fundus_r1.stages.launch import run_stage
    from fundus_r1.stages.resolve import resolve

    path = Path(spec)
    if path.suffix == ".json":
        text = read_address(spec) if scheme_of(spec) == S3 else path.read_bytes()
        records = [Record.model_validate_json(record.read_bytes()) for record in inputs or []]
        run_stage(load_job(text.decode(), spec, name, records), phase=phase, worker=worker)
        return
    run = resolve(read_spec(path, overrides, data, offline=offline))
    if not run.placement.store.is_placed:
        prepare_folder(out, min_free_gib=0)
    with open_place(run, out.resolve()) as placed:
        run_stage(job_of(placed, name), phase=phase, worker=worker)
