"""Jobs that nobody follows any more are removed, and only those.

A job of ours is an orphan when no owner of it lives and its launcher has not been heard of for a while. A
Workflow lives while it is there and has not ended; an owner of another kind is for Kubernetes to judge. A
job that has ended is left to its time to live. What is not ours is never touched: only objects with our
label are looked at. A job that changes between the look and the deletion is left for the next round, since
a launcher may just have adopted it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fundus_r1.cluster.child import JOBS, MANAGED_BY, MANAGER, SEEN, WORKFLOW, Resource
from fundus_r1.cluster.client import Changed, Cluster
from fundus_r1.cluster.owners import Owner, leave, owners
from fundus_r1.cluster.state import moment, word_of_job
from fundus_r1.errors import ClusterError

STALE_S = 15 * 60.0
"""Seconds without a sign of life after which a launcher counts as gone."""
_ENDED = frozenset({"Succeeded", "Failed", "Error"})

Action = Literal["deleted", "disowned", "kept"]


@dataclass(frozen=True)
class Verdict:
    """What was done with a job, or would be."""

    resource: Resource
    name: str
    action: Action
    """``disowned``: dead owners were taken from it, and it is kept."""
    why: str


def reap(
    cluster: Cluster, *, stale_s: float = STALE_S, dry_run: bool = False, now: datetime.datetime | None = None
) -> list[Verdict]:
    """Removes the orphans of a namespace.

    Args:
        cluster: the namespace.
        stale_s: seconds without a sign of life after which a launcher counts as gone.
        dry_run: only says what would be done.
        now: None takes this machine's clock.

    Raises:
        ClusterError: the API server refuses to list, change or delete.
    """
    at = now or datetime.datetime.now(datetime.UTC)
    return [_judge(cluster, resource, job, stale_s, dry_run, at) for resource, job in _jobs(cluster)]


def release(cluster: Cluster, workflow_uid: str) -> list[Verdict]:
    """Takes a run from the owners of its jobs, and deletes those that no other run owns.

    Args:
        cluster: the namespace.
        workflow_uid: of the run's Workflow.

    Raises:
        ClusterError: the API server refuses.
    """
    found = []
    for resource, job in _jobs(cluster):
        own = next((ref for ref in owners(job) if ref["uid"] == workflow_uid), None)
        if own is None:
            continue
        name, settled = job["metadata"]["name"], _settled(resource, job)
        done = settled or leave(cluster, resource, job, Owner(own["name"], workflow_uid))
        action: Action = "kept" if settled else "disowned" if done.startswith("goes on") else "deleted"
        found.append(Verdict(resource, name, action, done))
    return found


def _jobs(cluster: Cluster) -> Iterator[tuple[Resource, dict[str, Any]]]:
    for resource in JOBS:
        if cluster.served(resource):
            for job in cluster.list(resource, labels=f"{MANAGED_BY}={MANAGER}")[0]:
                # An event about it needs both, which items of a list may lack.
                yield resource, {**job, "apiVersion": resource.api_version, "kind": resource.kind}


def _judge(
    cluster: Cluster,
    resource: Resource,
    job: dict[str, Any],
    stale_s: float,
    dry_run: bool,
    now: datetime.datetime,
) -> Verdict:
    name = job["metadata"]["name"]
    if settled := _settled(resource, job):
        return Verdict(resource, name, "kept", settled)
    all_owners = job["metadata"].get("ownerReferences") or []
    living = [owner for owner in all_owners if _lives(cluster, owner)]
    silent_s = (now - _seen(job)).total_seconds()
    heard = f"its launcher was heard of {silent_s / 60:.0f} min ago"
    gone = _names(owner for owner in all_owners if owner not in living)
    try:
        if not living and silent_s > stale_s:
            why = f"{gone} ended, and {heard}" if gone else f"it has no owner, and {heard}"
            if not dry_run:
                why += _delete(cluster, resource, job, f"{MANAGER} reap: {why}")
            return Verdict(resource, name, "deleted", why)
        kept = f"{_names(living)} runs" if living else heard
        if not gone:
            return Verdict(resource, name, "kept", kept)
        if not dry_run:
            version = job["metadata"]["resourceVersion"]
            change = {"resourceVersion": version, "ownerReferences": living}
            cluster.patch(resource, name, {"metadata": change})
        return Verdict(resource, name, "disowned", f"{gone} ended; {kept}")
    except Changed:
        return Verdict(resource, name, "kept", "it was changed just now")


def _settled(resource: Resource, job: dict[str, Any]) -> str:
    """Why nothing is to be done with a job, whoever owns it; empty if there may be."""
    if job["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    return "it has ended" if word_of_job(resource, job) else ""


def _lives(cluster: Cluster, owner: dict[str, Any]) -> bool:
    if owner["kind"] != WORKFLOW.kind:
        return True
    # Where Argo is no longer installed, none of its Workflows lives.
    workflow = cluster.get(WORKFLOW, owner["name"]) if cluster.served(WORKFLOW) else None
    if workflow is None or workflow["metadata"]["uid"] != owner["uid"]:
        return False
    return (workflow.get("status") or {}).get("phase") not in _ENDED


def _seen(job: dict[str, Any]) -> datetime.datetime:
    """When a launcher was last heard of; at the latest when it made the job."""
    metadata = job["metadata"]
    found = moment((metadata.get("annotations") or {}).get(SEEN)) or moment(metadata["creationTimestamp"])
    assert found is not None, "the API server gives every object a time"
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _delete(cluster: Cluster, resource: Resource, job: dict[str, Any], why: str) -> str:
    """Deletes this very job as it was seen, and leaves an event; what could not be left is returned."""
    metadata = job["metadata"]
    cluster.delete(resource, metadata["name"], uid=metadata["uid"], version=metadata["resourceVersion"])
    try:
        cluster.post_event(job, "Reaped", f"The job was deleted: {why}", warning=True)
    except ClusterError as error:
        # The job is gone, and the other orphans must go too.
        return f" (no event could be left: {error.what})"
    return ""


def _names(found: Iterable[dict[str, Any]]) -> str:
    return ", ".join(f"{owner['kind']} {owner['name']}" for owner in found)
