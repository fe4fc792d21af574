"""Verbs that need no pipeline: drawing a collection, scoring a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fundus_r1.cli.app import app


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
