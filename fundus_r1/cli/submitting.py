"""The verb that starts a run on a cluster, and follows it."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fundus_r1.cli.app import app
from fundus_r1.cli.options import DataOption, PlacementOption, SetOption, read_spec
from fundus_r1.errors import ClusterError, SpecError

if TYPE_CHECKING:
    from fundus_r1.local.submit import Submitted
    from fundus_r1.spec import Placement, RunSpec
    from fundus_r1.stages.runs import RunRecord

STOPPED = 130
"""Exit code of a command that Ctrl-C stopped."""


@app.command()
def submit(
    host: Annotated[str, typer.Option(help="Address of the Kubeflow Pipelines server.")],
    spec: Annotated[Path | None, typer.Option("--spec", help="YAML of the run.")] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", help="Instead: the record of an earlier run, by path or s3:// address."),
    ] = None,
    overrides: SetOption = None,
    data: DataOption = None,
    placement: PlacementOption = None,
    anyway: Annotated[
        bool, typer.Option("--unpinned", help="Start it although something is unpinned; the run says so.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end; exit code 1 if it does not succeed.")
    ] = False,
    experiment: Annotated[str, typer.Option(help="Group of runs on the server.")] = "fundus-r1",
    namespace: Annotated[str | None, typer.Option(help="Of a server that several share.")] = None,
    service_account: Annotated[
        str | None, typer.Option(help="Kubernetes account of the steps' pods; else the server's choice.")
    ] = None,
    token_env: Annotated[str | None, typer.Option(help="Variable that holds the server's token.")] = None,
) -> None:
    """Starts a run on a Kubeflow Pipelines server; refuses one that could not be made again.

    The same science is uploaded once, whatever its placement. Printed is the link to the run.
    """
    from fundus_r1.local.repeat import repeat
    from fundus_r1.local.submit import Server, submit

    earlier = None
    if spec is not None and like is None:
        run, place = _named(spec, overrides, data, placement)
    elif like is not None and spec is None:
        earlier = _earlier(like, overrides, data)
        run, place = repeat(earlier, placement)
    else:
        raise SpecError(
            "It is not said what to run" if spec is None else "Two things are named to run",
            hint="give a spec (--spec FILE), or the record of an earlier run (--like RECORD)",
        )
    server = Server(host, experiment, namespace, token_env, service_account)
    started = submit(run, place, server, anyway=anyway)
    found = "uploaded" if started.uploaded else "on the server already"
    print(f"pipeline version {started.version}: {found}", file=sys.stderr)
    for name, image in earlier.images.items() if earlier else ():
        if started.images.get(name) != image:
            print(f"another image {name}: {image} -> {started.images.get(name)}", file=sys.stderr)
    print(started.link, flush=True)
    if wait:
        _follow(started)


def _earlier(like: str, overrides: list[str] | None, data: list[Path] | None) -> RunRecord:
    """The run that is to be repeated."""
    from fundus_r1.local.found_runs import load_record

    if overrides or data:
        raise SpecError(
            "A run that is repeated keeps its science and its data",
            where=like,
            hint="take away --set and --data; another place is given with --placement",
        )
    return load_record(like)


def _named(
    spec: Path, overrides: list[str] | None, data: list[Path] | None, placement: Path | None
) -> tuple[RunSpec, Placement]:
    """What is compiled, and the run's own placement."""
    from fundus_r1.local.submit import resolved_here
    from fundus_r1.spec import load_spec

    run = resolved_here(read_spec(spec, overrides, data, placement=placement))
    # What is compiled holds the spec's own placement, so that it is the same wherever it runs.
    return run.model_copy(update={"placement": load_spec(spec).placement}), run.placement


def _follow(started: Submitted) -> None:
    from fundus_r1.local.follow import follow

    def say(line: str) -> None:
        print(f"{datetime.datetime.now():%H:%M:%S}  {line}", flush=True)

    goes_on = f"fundus-r1: no longer followed; the run goes on: {started.link}"
    try:
        ended = follow(lambda: started.kubeflow.look(started.run), say)
    except KeyboardInterrupt:
        print(goes_on, file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    except ClusterError:
        print(goes_on, file=sys.stderr)
        raise
    say(f"the run has ended: {ended.state.lower()}" + (f": {ended.error}" if ended.error else ""))
    if ended.state != "SUCCEEDED":
        raise typer.Exit(1)
