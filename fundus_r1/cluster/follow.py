"""A job and its pods, kept up to date by watches in threads of their own.

Each thread lists, then watches from the list's version; a version that is too old is listed again, a lost
connection taken up again with growing pauses. An API server that is away for a while is waited for, since
the job runs on without it. Idle, a watch is one request in minutes, however many pods there are. Of a pod
only what is read here is kept, so that hundreds of them take little memory.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from fundus_r1.cluster.child import JOB, PODS, PYTORCHJOB, RAYJOB, TRAINJOB, Resource
from fundus_r1.cluster.client import Cluster, Gone
from fundus_r1.errors import ClusterError

WATCH_S = 300.0
"""Seconds after which a watch is asked for anew."""
_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 30.0
_AWAY_S = 3600.0
# Of pods that are gone, such as preempted ones: what a diagnosis may want to know.
_LOST = 50
_META = ("name", "uid", "namespace", "labels", "deletionTimestamp", "creationTimestamp")
_CONTAINER_STATUS = ("name", "restartCount", "state", "lastState", "ready", "started")
_OPERATORS = {
    PYTORCHJOB: "training.kubeflow.org/job-name",
    TRAINJOB: "jobset.sigs.k8s.io/jobset-name",
}
"""Label by which an operator finds its pods: theirs carry it even where ours is lost."""
_RAY_CLUSTER = "ray.io/cluster"


class Followed:
    """A job and its pods; a context manager.

    Args:
        cluster: where it is.
        resource: the kind of job.
        job: as it is known.
    """

    def __init__(self, cluster: Cluster, resource: Resource, job: dict[str, Any]):
        self.resource = resource
        self.job: dict[str, Any] | None = job
        """None once it is gone."""
        self.failure: ClusterError | None = None
        """Why it cannot be followed any more."""
        self._cluster = cluster
        self._name = job["metadata"]["name"]
        self._uid = job["metadata"]["uid"]
        self._pods: dict[str, dict[str, Any]] = {}
        self._lost: dict[str, dict[str, Any]] = {}
        self._moved = threading.Condition()
        self._news = True
        self._closed = threading.Event()
        self._watched: set[str] = set()

    def __enter__(self) -> Self:
        assert self.job is not None
        self._start(self.resource, "", f"metadata.name={self._name}", self._job_moved, [self.job])
        self._watch_pods(f"{JOB}={self._name}")
        if self.resource in _OPERATORS:
            self._watch_pods(f"{_OPERATORS[self.resource]}={self._name}")
        return self

    def __exit__(self, *_: object) -> None:
        """Threads end with their next news; nobody waits for them."""
        self._closed.set()

    def pods(self) -> list[dict[str, Any]]:
        """The pods that are there, by name."""
        with self._moved:
            return sorted(self._pods.values(), key=lambda pod: str(pod["metadata"]["name"]))

    @property
    def lost(self) -> list[dict[str, Any]]:
        """The last pods that were deleted, as they were last seen."""
        with self._moved:
            return list(self._lost.values())

    def wait(self, timeout_s: float) -> bool:
        """Waits for news, at most so many seconds; whether there are any.

        Raises:
            ClusterError: it cannot be followed any more.
        """
        with self._moved:
            found = self._moved.wait_for(lambda: self._news, timeout_s)
            self._news = False
        if self.failure is not None:
            raise self.failure
        return found

    def _watch_pods(self, labels: str) -> None:
        if labels not in self._watched:
            self._watched.add(labels)
            self._start(PODS, labels, "", self._pod_moved, [])

    def _start(
        self,
        resource: Resource,
        labels: str,
        fields: str,
        told: Callable[[str, dict[str, Any]], None],
        known: Sequence[dict[str, Any]],
    ) -> None:
        def follow() -> None:
            try:
                for kind, item in changes(
                    self._cluster, resource, self._closed, labels=labels, fields=fields, known=known
                ):
                    with self._moved:
                        told(kind, item)
                        self._tell()
            except ClusterError as error:
                with self._moved:
                    self.failure = error
                    self._tell()

        name = f"watch-{resource.plural}"
        threading.Thread(target=follow, name=name, daemon=True).start()

    def _tell(self) -> None:
        self._news = True
        self._moved.notify_all()

    def _job_moved(self, kind: str, job: dict[str, Any]) -> None:
        if job["metadata"]["uid"] != self._uid:
            return  # another of the same name, after ours
        self.job = None if kind == "DELETED" else job
        ray = (job.get("status") or {}).get("rayClusterName")
        if self.resource == RAYJOB and ray:
            self._watch_pods(f"{_RAY_CLUSTER}={ray}")

    def _pod_moved(self, kind: str, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            before = self._pods.pop(uid, None)
            if uid in self._lost:
                return  # each watch that has seen the pod tells of its end
            self._lost[uid] = trimmed(pod) if "status" in pod or before is None else before
            while len(self._lost) > _LOST:
                del self._lost[next(iter(self._lost))]
        elif uid not in self._lost:
            self._pods[uid] = trimmed(pod)


def trimmed(pod: dict[str, Any]) -> dict[str, Any]:
    """Of a pod what is read here: who and where it is, how it is, its first container."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    kept = {
        key: status[key] for key in ("phase", "reason", "message", "startTime", "conditions") if key in status
    }
    for group in ("initContainerStatuses", "containerStatuses"):
        if status.get(group):
            kept[group] = [
                {key: found[key] for key in _CONTAINER_STATUS if key in found} for found in status[group]
            ]
    return {
        "metadata": {key: pod["metadata"][key] for key in _META if key in pod["metadata"]},
        "spec": {
            "nodeName": spec.get("nodeName"),
            "restartPolicy": spec.get("restartPolicy"),
            "containers": [
                {"name": found["name"], "resources": found.get("resources")}
                for found in spec.get("containers") or ()
            ],
        },
        "status": kept,
    }


def changes(
    cluster: Cluster,
    resource: Resource,
    closed: threading.Event,
    *,
    labels: str = "",
    fields: str = "",
    known: Sequence[dict[str, Any]] = (),
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is there and what happens to it, without end: ``ADDED``, ``MODIFIED``, ``DELETED``.

    An object that went unseen, while the history was lost, is told as ``DELETED`` as it was last known.

    Args:
        cluster: where.
        resource: the kind.
        closed: ends it.
        labels: label selector.
        fields: field selector.
        known: objects that were seen before.

    Raises:
        ClusterError: what waiting does not cure, or the server was away for an hour.
    """
    seen = {item["metadata"]["uid"]: _identity(item) for item in known}
    version = ""
    answered, pause_s = time.monotonic(), _BACKOFF_S
    while not closed.is_set():
        asked = time.monotonic()
        try:
            if not version:
                items, version = cluster.list(resource, labels=labels, fields=fields)
                answered = time.monotonic()
                there = {item["metadata"]["uid"]: item for item in items}
                yield from (("DELETED", item) for uid, item in seen.items() if uid not in there)
                yield from (("ADDED", item) for item in items)
                seen = {uid: _identity(item) for uid, item in there.items()}
            for kind, item in cluster.watch(
                resource, version, labels=labels, fields=fields, timeout_s=WATCH_S * random.uniform(0.8, 1.2)
            ):
                answered = time.monotonic()
                version = item["metadata"]["resourceVersion"]
                if kind == "BOOKMARK":
                    continue
                yield kind, item
                if kind == "DELETED":
                    seen.pop(item["metadata"]["uid"], None)
                else:
                    seen[item["metadata"]["uid"]] = _identity(item)
        except Gone:
            version = ""
        except ClusterError as error:
            if not error.transient or time.monotonic() - answered > _AWAY_S:
                raise
            print(f"still following: {error.what}", file=sys.stderr, flush=True)
        # A connection that ends as soon as it is made must not become a storm of requests.
        pause_s = _BACKOFF_S if time.monotonic() - asked > pause_s else min(2 * pause_s, _LONGEST_BACKOFF_S)
        closed.wait(pause_s * random.uniform(0.5, 1))


def _identity(item: dict[str, Any]) -> dict[str, Any]:
    """Enough of an object to say later that it is gone."""
    return {key: item[key] for key in ("apiVersion", "kind") if key in item} | {
        "metadata": {
            key: item["metadata"][key] for key in ("name", "uid", "labels") if key in item["metadata"]
        }
    }
