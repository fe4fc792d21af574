"""What a job is to do, for whom and how big, whichever operator runs it."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any

from fundus_r1.cluster.child import (
    FINGERPRINT,
    MANAGED_BY,
    MANAGER,
    OUTPUT,
    RUN,
    SPEC,
    Resource,
    child_labels,
    child_name,
)
from fundus_r1.errors import SpecError
from fundus_r1.spec.cluster import ChildJob, Cluster
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.places import claim_of

Manifest = dict[str, Any]

_QUEUE = "kueue.x-k8s.io/queue-name"
_QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
_ISTIO = "sidecar.istio.io/inject"


@dataclass(frozen=True)
class Order:
    """One stage as a job of its own."""

    stage: str
    """``sft`` or ``grpo``."""
    fingerprint: str
    """Of the output, 64 hexadecimal digits."""
    placement: Placement
    run: str
    """The run that asks for it."""
    spec_uri: str
    """Where its pods read what to do."""
    output_uri: str
    image: str
    owners: tuple[Manifest, ...] = ()
    """Owner references of the job."""
    reads: tuple[str, ...] = ()
    """Places that the stage reads beside the store (`spec.places`)."""

    @property
    def name(self) -> str:
        """Of the first attempt."""
        return child_name(self.stage, self.fingerprint)

    @property
    def cluster(self) -> Cluster:
        return self.placement.cluster or Cluster()

    @property
    def job(self) -> ChildJob:
        """How the stage's job is made."""
        return self.cluster.sft if self.stage == "sft" else self.cluster.grpo

    @property
    def command(self) -> list[str]:
        """What every pod that trains runs."""
        return ["fundus-r1", "stage", self.stage, "--spec", self.spec_uri]

    @property
    def command_line(self) -> str:
        """The same as one line for a shell."""
        return shlex.join(self.command)

    @property
    def claims(self) -> list[str]:
        """The PersistentVolumeClaims that it reads."""
        found = (claim_of(place) for place in self.reads)
        return list(dict.fromkeys(claim for claim in found if claim is not None))

    @property
    def deadline(self) -> int | None:
        """Seconds until the operator ends the job, from the moment on which it takes it up; or None.

        Under Kueue that is when there is room, so the run's own clock is the deadline. Without Kueue
        an operator counts the wait for nodes too, which must not shorten the run: the deadline is both
        clocks together, and there is none where the wait has no limit. The launcher keeps both
        clocks apart anyway; this is for the time in which no launcher looks.
        """
        clocks = self.job.clocks
        if clocks.run_s is None:
            return None
        if self.cluster.queue is not None:
            return math.ceil(clocks.run_s)
        return None if clocks.queue_s is None else math.ceil(clocks.queue_s + clocks.run_s)

    def metadata(self) -> Manifest:
        """Of the job itself."""
        queue = {_QUEUE: self.cluster.queue, _QUEUE_PRIORITY: self.cluster.queue_priority}
        found: Manifest = {
            "name": self.name,
            "labels": self.labels() | {key: value for key, value in queue.items() if value is not None},
            "annotations": self.annotations(),
        }
        if self.cluster.namespace is not None:
            found["namespace"] = self.cluster.namespace
        if self.owners:
            found["ownerReferences"] = list(self.owners)
        return found

    def pod_metadata(self, *, trains: bool = True) -> Manifest:
        """Of its pods. Kueue's labels are the job's alone: a labelled pod would wait a second time.

        Args:
            trains: whether the pod trains; if not, it has no part in a second network and such.
        """
        further = self.job.annotations if trains else {}
        istio = {} if self.cluster.istio_injection else {_ISTIO: "false"}
        return {
            "labels": self.labels() | istio,
            "annotations": {**further, **self.annotations(), **istio},
        }

    def labels(self) -> dict[str, str]:
        """Labels of the job and its pods; what the launcher finds them by cannot be changed by a spec."""
        return {**self.cluster.labels, **child_labels(self.stage, self.fingerprint, self.run, self.name)}

    def annotations(self) -> dict[str, str]:
        """Annotations of the job and its pods: in full what labels have no room for."""
        ours = {RUN: self.run, FINGERPRINT: self.fingerprint, SPEC: self.spec_uri, OUTPUT: self.output_uri}
        return {**self.cluster.annotations, **ours}

    def manifest(self, resource: Resource, spec: Manifest) -> Manifest:
        """The whole object."""
        return {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": self.metadata(),
            "spec": spec,
        }


def shared_metadata(cluster: Cluster, name: str) -> Manifest:
    """Metadata of an object that jobs of several runs use, so it says nothing of a run."""
    found: Manifest = {"name": name, "labels": {**cluster.labels, MANAGED_BY: MANAGER}}
    if cluster.annotations:
        found["annotations"] = dict(cluster.annotations)
    if cluster.namespace is not None:
        found["namespace"] = cluster.namespace
    return found


def without_nulls(manifest: Any) -> Any:
    """A manifest without the fields that are None, which an API server would take for a wish."""
    if isinstance(manifest, dict):
        return {key: without_nulls(value) for key, value in manifest.items() if value is not None}
    if isinstance(manifest, list):
        return [without_nulls(item) for item in manifest]
    return manifest


def demand_one_node(nodes: int, where: str, why: str, hint: str) -> None:
    """Refuses more than one machine.

    Raises:
        SpecError: there are more; says why they cannot be.
    """
    if nodes > 1:
        raise SpecError(f"{nodes} machines are asked for, but {why}", where=where, hint=hint)
