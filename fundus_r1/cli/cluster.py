"""The verbs of a cluster's namespace: what a run would lack there, one of its jobs, what runs left behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fundus_r1.cli.app import app
from fundus_r1.cli.options import DataOption, PlacementOption, SetOption, SpecOption, read_spec

NamespaceOption = Annotated[
    str | None, typer.Option(help="Else that of this pod, or of the kubeconfig's context.")
]


@app.command()
def preflight(
    spec: SpecOption,
    placement: PlacementOption = None,
    overrides: SetOption = None,
    data: DataOption = None,
) -> None:
    """Looks whether a run would find all it needs, and says what to do; the exit code is 1 if not."""
    from fundus_r1.cluster.client import Cluster
    from fundus_r1.stages.preflight import missing
    from fundus_r1.stages.preflight import preflight as look

    run = read_spec(spec, overrides, data, placement=placement)
    place = run.placement.cluster
    checks = look(run, cluster=None if place is None else Cluster.connect(place.namespace))
    marks = {True: "ok", None: "?", False: "MISSING"}
    _print(
        ("", "what", "needed", "found", "to do"),
        [(marks[check.ok], check.what, check.needed, check.found, check.todo) for check in checks],
    )
    lacking = missing(checks)
    unsure = sum(check.ok is None for check in checks)
    print(f"{len(checks)} things looked at, {len(lacking)} missing, {unsure} to be aware of")
    if lacking:
        raise typer.Exit(1)


@app.command()
def launch(
    manifest: Annotated[Path, typer.Argument(help="A job that plan --manifests has written.")],
    namespace: NamespaceOption = None,
    queue: Annotated[float | None, typer.Option(min=1, help="Seconds that it may wait for room.")] = None,
    run: Annotated[float | None, typer.Option(min=1, help="Seconds that it may run.")] = None,
) -> None:
    """Makes a job, or adopts the one that is there, and follows it to its end; SIGTERM deletes it.

    The exit code is 0 if the job says that it succeeded, 75 if another try may help, else 1.
    """
    from fundus_r1.cluster.child import read_child
    from fundus_r1.cluster.client import Cluster
    from fundus_r1.cluster.launch import JobError, Terms
    from fundus_r1.cluster.launch import launch as follow
    from fundus_r1.cluster.owners import own_workflow
    from fundus_r1.spec.cluster import Clocks

    child = read_child(manifest)
    cluster = Cluster.connect(namespace or child.manifest["metadata"].get("namespace"))
    terms = Terms(owner=own_workflow(cluster), clocks=Clocks(queue_s=queue, run_s=run))
    try:
        print(follow(cluster, child, terms))
    except JobError as error:
        print(error.markdown, file=sys.stderr)
        raise


@app.command()
def reap(
    namespace: NamespaceOption = None,
    stale: Annotated[
        float, typer.Option(min=0, help="Minutes without a sign of life after which a launcher is gone.")
    ] = 15.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Deletes jobs of ours that no run follows any more; all others are left alone."""
    from fundus_r1.cluster.client import Cluster
    from fundus_r1.cluster.reap import reap as clean

    cluster = Cluster.connect(namespace)
    found = clean(cluster, stale_s=60 * stale, dry_run=dry_run)
    if found:
        _print(
            ("job", "kind", "would be" if dry_run else "", "why"),
            [(verdict.name, verdict.resource.kind, verdict.action, verdict.why) for verdict in found],
        )
    deleted = sum(verdict.action == "deleted" for verdict in found)
    told = "would be deleted" if dry_run else "deleted"
    print(f"{len(found)} jobs in the namespace {cluster.namespace}, {deleted} {told}")


def _print(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
