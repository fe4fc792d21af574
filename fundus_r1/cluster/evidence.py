"""What is looked up around a job: events about it and its pods, and Kueue's view of it.

While a job waits this is asked now and then, when it has failed once more. Whoever may not read events or
Workloads has less to tell, and fails for nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from fundus_r1.cluster.child import EVENTS, WORKLOAD, Resource
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.state import over, suspended
from fundus_r1.errors import ClusterError

EVERY_S = 15.0
"""Seconds between two looks around a job that waits."""
_OF_JOB = "kueue.x-k8s.io/job-uid"
# Enough to see why; events of hundreds of pods say the same.
_PODS = 10


class Around:
    """Looks around jobs.

    Args:
        cluster: where they are.
    """

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._looked = -EVERY_S
        self._workload: dict[str, Any] | None = None
        self._events: list[dict[str, Any]] = []
        self._told: set[str] = set()

    def look(
        self, job: dict[str, Any], pods: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """Of a job that waits: Kueue's Workload if it is held back, the events about it if it has no pods."""
        if time.monotonic() - self._looked >= EVERY_S:
            self._looked = time.monotonic()
            self._workload = self._workload_of(job) if suspended(job) else None
            self._events = [] if pods else self._events_about(job)
        return self._workload, self._events

    def gather(self, job: dict[str, Any] | None, pods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Events about a job, its Workload, its Ray cluster, and those of its pods that did not succeed."""
        about = []
        if job is not None:
            ray = (job.get("status") or {}).get("rayClusterName")
            workload = self._workload_of(job) if suspended(job) else None
            about = [job, *([workload] if workload else []), *([{"metadata": {"name": ray}}] if ray else [])]
        failed = [pod for pod in pods if (pod.get("status") or {}).get("phase") != "Succeeded"]
        failed.sort(key=lambda pod: not over(pod))
        return [event for item in (*about, *failed[:_PODS]) for event in self._events_about(item)]

    def _workload_of(self, job: dict[str, Any]) -> dict[str, Any] | None:
        found = self._list(WORKLOAD, labels=f"{_OF_JOB}={job['metadata']['uid']}")
        return found[0] if found else None

    def _events_about(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        meta = item["metadata"]
        found = self._list(EVENTS, fields=f"involvedObject.name={meta['name']}")
        # An earlier object of this name had events too.
        other = {event["involvedObject"].get("uid") for event in found} - {None, "", meta.get("uid")}
        return [
            event for event in found if "uid" not in meta or event["involvedObject"].get("uid") not in other
        ]

    def _list(self, resource: Resource, *, labels: str = "", fields: str = "") -> list[dict[str, Any]]:
        try:
            return self._cluster.list(resource, labels=labels, fields=fields)[0]
        except ClusterError as error:
            if error.what not in self._told:
                self._told.add(error.what)
                print(f"not looked at: {error.what}", file=sys.stderr, flush=True)
            return []
