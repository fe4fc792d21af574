"""Whose a job is: each run that needs it has its Workflow among the job's owners.

The last one takes the job with it; whoever leaves earlier removes only its own ownership. Both are done on
the condition that nothing has changed since the owners were read, so that a run which has just adopted the
job never loses it. A Workflow, not a pod, is the owner: a step that is tried again has another pod.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fundus_r1.cluster.child import PODS, WORKFLOW, Resource
from fundus_r1.cluster.client import Changed, Cluster
from fundus_r1.errors import ClusterError

POD_NAME = "KFP_POD_NAME"
"""Variable with the name of a step's own pod."""
_WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
_RUN_LABEL = "pipeline/runid"
_TRIES = 5


@dataclass(frozen=True)
class Owner:
    """A run's Workflow."""

    name: str
    uid: str
    run: str = ""
    """Id of the run in Kubeflow Pipelines, where it is known."""

    def reference(self) -> dict[str, Any]:
        """As it stands in the owned object. No controller, so that there may be several."""
        return {
            "apiVersion": WORKFLOW.api_version,
            "kind": WORKFLOW.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": False,
            "blockOwnerDeletion": False,
        }


def own_workflow(cluster: Cluster) -> Owner | None:
    """The Workflow that this step belongs to; None outside of Kubeflow Pipelines.

    Raises:
        ClusterError: it cannot be read.
    """
    name = os.environ.get(POD_NAME)
    pod = cluster.get(PODS, name) if name else None
    # An owner must be in the namespace of what it owns.
    workflow = pod and (pod["metadata"].get("labels") or {}).get(_WORKFLOW_LABEL)
    found = cluster.get(WORKFLOW, workflow) if workflow else None
    if found is None:
        return None
    meta = found["metadata"]
    return Owner(meta["name"], meta["uid"], (meta.get("labels") or {}).get(_RUN_LABEL) or meta["name"])


def owners(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The Workflows that own a job."""
    found = job["metadata"].get("ownerReferences") or ()
    return [reference for reference in found if reference.get("kind") == WORKFLOW.kind]


def join(
    cluster: Cluster, resource: Resource, job: dict[str, Any], owner: Owner | None
) -> dict[str, Any] | None:
    """Makes a run an owner of a job that another may have made.

    Returns:
        The job as it is now; None if it is no longer there.
    """
    found: dict[str, Any] | None = job
    for _ in range(_TRIES):
        if owner is None or found is None or owner.uid in [ref["uid"] for ref in owners(found)]:
            return found
        meta = found["metadata"]
        references = [*(meta.get("ownerReferences") or ()), owner.reference()]
        try:
            return cluster.patch(resource, meta["name"], _owned(meta, references))
        except Changed:
            found = cluster.get(resource, meta["name"])
    raise _restless(resource, job)


def leave(cluster: Cluster, resource: Resource, job: dict[str, Any], owner: Owner | None) -> str:
    """Removes a run from the owners of a job, and the job if no other run owns it.

    Args:
        cluster: where it is.
        resource: the kind of job.
        job: as last seen; may be old.
        owner: the run's Workflow; None outside of Kubeflow Pipelines.

    Returns:
        What was done, for people.
    """
    found: dict[str, Any] | None = job
    name, own = job["metadata"]["name"], job["metadata"]["uid"]
    uid = None if owner is None else owner.uid
    for _ in range(_TRIES):
        if found is None or found["metadata"]["uid"] != own:
            return "was gone"
        meta = found["metadata"]
        others = [reference for reference in owners(found) if reference["uid"] != uid]
        try:
            if not others:
                cluster.delete(resource, name, uid=own, version=meta["resourceVersion"])
                return "was deleted"
            kept = [ref for ref in meta.get("ownerReferences") or () if ref["uid"] != uid]
            cluster.patch(resource, name, _owned(meta, kept))
            return f"goes on for {len(others)} other run{'s' if len(others) > 1 else ''}"
        except Changed:
            found = cluster.get(resource, name)
    raise _restless(resource, job)


def _owned(meta: Mapping[str, Any], references: list[dict[str, Any]]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": meta["resourceVersion"], "ownerReferences": references}}


def _restless(resource: Resource, job: Mapping[str, Any]) -> ClusterError:
    return ClusterError(
        f"The job's owners could not be changed, since it itself changed {_TRIES} times meanwhile",
        where=f"{resource.plural}/{job['metadata']['name']}",
        transient=True,
    )
