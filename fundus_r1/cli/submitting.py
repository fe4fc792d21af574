"""The verb that starts a run on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from fundus_r1.cli.app import app
from fundus_r1.cli.options import DataOption, PlacementOption, SetOption, SpecOption, read_spec


@app.command()
def submit(
    spec: SpecOption,
    host: Annotated[str, typer.Option(help="Address of the Kubeflow Pipelines server.")],
    overrides: SetOption = None,
    data: DataOption = None,
    placement: PlacementOption = None,
    anyway: Annotated[
        bool, typer.Option("--unpinned", help="Start it although something is unpinned; the run says so.")
    ] = False,
    experiment: Annotated[str, typer.Option(help="Group of runs on the server.")] = "fundus-r1",
    namespace: Annotated[str | None, typer.Option(help="Of a server that several share.")] = None,
    token_env: Annotated[str | None, typer.Option(help="Variable that holds the server's token.")] = None,
) -> None:
    """Starts a run on a Kubeflow Pipelines server; refuses one that could not be made again."""
    from fundus_r1.local.pipelines import submit_pipeline
    from fundus_r1.spec.pins import unpinned
    from fundus_r1.stages.resolve import refuse_unpinned, resolve

    run = read_spec(spec, overrides, data, placement=placement)
    if not anyway:
        refuse_unpinned(
            unpinned(run.science),
            "The run is not pinned, so it could not be made again",
            "pin each (fundus-r1 pin), or say --unpinned: the run then says that it is not pinned",
        )
    print(
        submit_pipeline(resolve(run), host, experiment=experiment, namespace=namespace, token_env=token_env)
    )
