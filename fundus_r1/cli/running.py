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
) -> None:
    """Runs the whole pipeline on this machine; the same command again goes on from what was done."""
    from fundus_r1.local.run import run_here
    from fundus_r1.stages import STAGES

    console = Console()
    ended = run_here(read_spec(spec, overrides, data, offline=offline), out, console)
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
) -> None:
    """Lists the ten stages with their fingerprints: which are in the store, which would run, why."""
    from fundus_r1.local.run import plan_here

    wanted = read_spec(spec, overrides, data)
    console = Console(width=None if sys.stdout.isatty() else 160)
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
    spec: SpecOption,
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
    from fundus_r1.stages.job import job_of, load_job
    from fundus_r1.stages.launch import run_stage
    from fundus_r1.stages.resolve import resolve

    if spec.suffix == ".json":
        job = load_job(spec, name, [Record.model_validate_json(path.read_bytes()) for path in inputs or []])
        run_stage(job, phase=phase, worker=worker)
        return
    run = resolve(read_spec(spec, overrides, data, offline=offline))
    if not run.placement.store.is_placed:
        prepare_folder(out, min_free_gib=0)
    with open_place(run, out.resolve()) as placed:
        run_stage(job_of(placed, name), phase=phase, worker=worker)
