"""How a run ends: its jobs are let go of, its record in the store is closed, and a page says why it ended so.

The component `finish` calls nothing else. As an exit handler it runs after success and failure, and it
can read no output of a step; so it finds store and cluster by the run's parameters. Kubeflow keeps no
artifact of a step that failed: what such a step had to say is taken from the store, and shown here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fundus_r1.cluster.child import child_name
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.manifests import CHILD_STAGES
from fundus_r1.cluster.owners import own_workflow
from fundus_r1.cluster.reap import release
from fundus_r1.progress import emit
from fundus_r1.spec import RunSpec
from fundus_r1.stages.beginning import place_run
from fundus_r1.stages.launch import process_tree
from fundus_r1.stages.runs import (
    PinnedRun,
    RunRecord,
    begin_record,
    end_record,
    read_run,
    run_key,
    table_key,
    write_run,
)
from fundus_r1.storage import open_store
from fundus_r1.storage.output import find_record
from fundus_r1.storage.protocol import Store


def end_run(run: str, run_id: str, given: Mapping[str, Any], page: str, *, state: str, error: str) -> None:
    """The step ``finish``: closes ``runs/<run id>.json``, and lets go of jobs that the run left behind.

    Args:
        run: JSON of the `PinnedRun`.
        run_id: Kubeflow's id of the run.
        given: those parameters of the run that say where its store and its cluster are.
        page: path for how the run ended, as Markdown.
        state: the pipeline's word for it, ``SUCCEEDED`` or ``FAILED``.
        error: the pipeline's message.
    """
    with process_tree("finish"):
        pinned = PinnedRun.model_validate_json(run)
        spec = place_run(pinned, given)
        try:
            _let_go(spec)
        finally:
            store = open_store(spec.placement.store)
            # None where the run ended before its data were known.
            begun = read_run(store, run_id)
            if begun is None:
                used = pinned.made_here(spec.placement)
                begun = begin_record(used, spec, run_id, resolved=False)
            ended = end_record(begun, state, error)
            write_run(store, ended)
            Path(page).write_text("\n".join(_told(ended, store)) + "\n", encoding="utf-8")
        emit("finish", "note", state=state)


def _let_go(spec: RunSpec) -> None:
    """Takes the run from the owners of its jobs; those that no other run owns are deleted."""
    place = spec.placement.cluster
    if place is None:
        return
    cluster = Cluster.connect(place.namespace)
    owner = own_workflow(cluster)
    for verdict in release(cluster, owner.uid) if owner else ():
        emit("finish", "note", text=f"{verdict.resource.kind} {verdict.name}: {verdict.why}")


def _told(record: RunRecord, store: Store) -> Iterator[str]:
    """How a run ended, as Markdown."""
    yield f"# {record.spec.name}: {record.state}"
    if record.error:
        yield f"\n{record.error}"
    yield "\n| | |\n|---|---|"
    yield f"| record | `{store.uri}/{run_key(record.run_id)}` |"
    yield f"| began | {record.started:%Y-%m-%d %H:%M} UTC |"
    for path in record.unpinned:
        yield f"| not pinned | {path} |"
    if record.state == "SUCCEEDED":
        return
    if not record.fingerprints:
        yield from _kept(store, table_key(record.run_id))
    for stage in CHILD_STAGES:
        fingerprint = record.fingerprints.get(stage)
        if fingerprint is not None and find_record(store, stage, fingerprint) is None:
            stories = [
                key for key in store.list(f"jobs/{child_name(stage, fingerprint)}") if key.endswith(".md")
            ]
            # Of the last attempt, whose name is the longest.
            yield from _kept(store, max(stories, key=lambda key: (len(key), key), default=""))


def _kept(store: Store, key: str) -> Iterator[str]:
    """What a step has left in the store, below the rest of the page."""
    text = store.get(key) if key else None
    if text is not None:
        yield f"\n{text.decode().rstrip()}"
