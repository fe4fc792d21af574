"""The command ``fundus-r1``. Thin: each verb reads its options and calls one function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fundus_r1.errors import FundusError
from fundus_r1.spec import RunSpec, load_spec

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fundus-R1: training a fundus-reading model on public data. Not a medical device.",
)

SpecOption = Annotated[Path, typer.Option("--spec", help="YAML of the run, or JSON of one stage's slice.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override, for example science.sft.epochs=1.")
]
DataOption = Annotated[
    list[Path] | None, typer.Option("--data", help="Folder with datasets and benchmarks; may be repeated.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for the outputs.")]

DEFAULT_OUT = Path("out/demo")


def _spec(spec: Path, overrides: list[str] | None, data: list[Path] | None) -> RunSpec:
    from fundus_r1.local.run import with_data

    return with_data(load_spec(spec, overrides or ()), data or [])


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    _Debug.on = debug


class _Debug:
    on = False


@app.command()
def run(
    spec: SpecOption, overrides: SetOption = None, data: DataOption = None, out: OutOption = DEFAULT_OUT
) -> None:
    """Runs the whole pipeline on this machine; the same command again goes on from what was done."""
    from fundus_r1.local.run import run_here
    from fundus_r1.stages import STAGES

    console = Console()
    ended = run_here(_spec(spec, overrides, data), out, console)
    console.print(f"{len(ended.hits)} of {len(STAGES)} stages were in the store.", highlight=False)
    console.print(f"The report is {ended.report}", highlight=False, soft_wrap=True)


@app.command()
def plan(
    spec: SpecOption, overrides: SetOption = None, data: DataOption = None, out: OutOption = DEFAULT_OUT
) -> None:
    """Lists the ten stages with their fingerprints: which are in the store, which would run, why."""
    from fundus_r1.local.run import plan_here

    table = Table(box=None, pad_edge=False)
    for title in ("stage", "fingerprint", "would", "why"):
        table.add_column(title, overflow="fold")
    for step in plan_here(_spec(spec, overrides, data), out):
        table.add_row(step.stage, step.short, "hit" if step.record else "run", step.why)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


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

    compile_pipeline(resolve(_spec(spec, overrides, data)), out)
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
    phase: Annotated[str, typer.Option(help="run; or plan, work of a stage that is spread out.")] = "run",
    worker: Annotated[int, typer.Option(help="Number of the worker, for --phase work.")] = 0,
) -> None:
    """Runs one stage against the store that the spec names: what every step and pod runs."""
    from fundus_r1.record import Record
    from fundus_r1.stages.job import job_of, load_job
    from fundus_r1.stages.launch import run_stage
    from fundus_r1.stages.resolve import resolve

    if spec.suffix == ".json":
        job = load_job(spec, name, [Record.model_validate_json(path.read_bytes()) for path in inputs or []])
    else:
        job = job_of(resolve(_spec(spec, overrides, data)), name)
    run_stage(job, phase=phase, worker=worker)


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 7,
    patients: Annotated[int, typer.Option(help="Patients in each collection.")] = 24,
) -> None:
    """Draws a small synthetic collection in the official layouts. Drawings, not medical data."""
    from fundus_r1.datasets.synth import draw_collection
    from fundus_r1.spec.science import Synthetic

    draw_collection(folder, Synthetic(seed=seed, patients=patients))
    print(folder)


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="A model folder, or the address of an endpoint ending in /v1.")],
    data: Annotated[Path, typer.Option(help="Folder with FunBench or OmniMedVQA in its official layout.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions and scores.")],
    limit: Annotated[int | None, typer.Option(help="At most so many questions of a benchmark.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most, trace included.")] = 2048,
    max_model_len: Annotated[int, typer.Option(help="Tokens of prompt and answer together.")] = 8192,
    model_id: Annotated[str | None, typer.Option(help="Which of the endpoint's models.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Variable that holds the endpoint's key.")] = None,
) -> None:
    """Scores any model on the benchmarks, without a pipeline."""
    from fundus_r1.spec.placement import Engine
    from fundus_r1.stages.evaluate_alone import evaluate_alone

    engine = Engine(max_model_len=max_model_len)
    told = evaluate_alone(
        model,
        data,
        out,
        limit=limit,
        max_tokens=max_tokens,
        engine=engine,
        model_id=model_id,
        api_key_env=api_key_env,
    )
    print(told)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: one readable message and an exit code, a traceback only with --debug."""
    _guard(lambda: app(args=arguments, standalone_mode=True))


def _guard(call: Callable[[], object]) -> None:
    try:
        call()
    except FundusError as error:
        if _Debug.on:
            raise
        print(f"fundus-r1: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if _Debug.on:
            raise
        print("fundus-r1: stopped; the same command goes on from what was done", file=sys.stderr)
        sys.exit(130)
