"""What the objects of a job say: that it waits, runs, has succeeded or failed. Pure functions.

The job's own status decides, as far as it says anything; its operator knows of retries. Whether a job that
has not ended waits or runs is read from its pods: a group of which one pod finds no room waits, whatever
the others do. A job that a queue holds back waits. Where the operator is silent although all pods have
ended, `word_of_pods` says what they came to; the caller decides how long to wait for the operator.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fundus_r1.cluster.child import RAYJOB, Resource
from fundus_r1.cluster.faults import scheduler_words
from fundus_r1.cluster.story import role_of

_STARTING = ("ContainerCreating", "PodInitializing")
_OVER = ("Succeeded", "Failed")


class Phase(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.FAILED)


@dataclass(frozen=True)
class State:
    """How far a job is, and why not further."""

    phase: Phase
    reason: str = ""
    """Of one that waits: what for. Of one that failed: its operator's words."""
    since: datetime.datetime | None = None
    """Of one that runs: when the first of its pods began, if they say so."""


def read_state(
    resource: Resource,
    job: Mapping[str, Any],
    pods: Collection[Mapping[str, Any]],
    workload: Mapping[str, Any] | None = None,
) -> State:
    """The state of a job.

    Args:
        resource: its kind.
        job: the job.
        pods: its pods that are known.
        workload: Kueue's view of it.
    """
    if ended := word_of_job(resource, job):
        return ended
    if suspended(job):
        return State(Phase.QUEUED, _word_of_queue(workload))
    waiting = sorted((pod for pod in pods if _phase(pod) == "Pending"), key=_name)
    if waiting:
        more = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        return State(Phase.QUEUED, f"{role_of(waiting[0])}: {_word_of_pod(waiting[0])}{more}")
    if pods:
        return State(Phase.RUNNING, since=min(filter(None, map(_began, pods)), default=None))
    if _says_running(resource, job):
        return State(Phase.RUNNING)
    return State(Phase.QUEUED, "its operator has made no pods yet")


def word_of_job(resource: Resource, job: Mapping[str, Any]) -> State | None:
    """How the job ended by its own status; None while it has not."""
    status = job.get("status") or {}
    if resource == RAYJOB:
        return _word_of_rayjob(status)
    for condition in _true_conditions(status):
        told = f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
        if condition["type"] in ("Succeeded", "Complete"):
            return State(Phase.SUCCEEDED)
        if condition["type"] == "Failed":
            return State(Phase.FAILED, told)
    return None


def word_of_pods(pods: Collection[Mapping[str, Any]]) -> Phase | None:
    """What the pods came to where none runs any more: failed if one did; None while they may go on."""
    phases = [_phase(pod) for pod in pods]
    if not phases or "Running" in phases:
        return None
    if "Failed" in phases:
        return Phase.FAILED
    return Phase.SUCCEEDED if set(phases) == {"Succeeded"} else None


def suspended(job: Mapping[str, Any]) -> bool:
    """Whether a queue, or somebody, holds the job back."""
    spec = job.get("spec") or {}
    return bool(spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend"))


def over(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has ended."""
    return _phase(pod) in _OVER


def cannot_start(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has its place and still cannot start: its image, its configuration, its own crashes."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    waiting = [((status.get("state") or {}).get("waiting") or {}).get("reason") for status in statuses]
    return any(reason and reason not in _STARTING for reason in waiting)


def moment(text: str | None) -> datetime.datetime | None:
    """A time as Kubernetes writes it (RFC 3339), if it is one."""
    try:
        return datetime.datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _word_of_rayjob(status: Mapping[str, Any]) -> State | None:
    deployment, ray = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    told = f"{status.get('reason', '')}: {status.get('message', '')}".strip(": ")
    if deployment in ("Failed", "ValidationFailed"):
        return State(Phase.FAILED, told)
    if deployment == "Retrying":
        return None
    # A job that somebody stopped is Complete too.
    if ray in ("FAILED", "STOPPED"):
        return State(Phase.FAILED, told or f"Ray's job is {ray}")
    if ray == "SUCCEEDED" or deployment == "Complete":
        return State(Phase.SUCCEEDED)
    return None


def _says_running(resource: Resource, job: Mapping[str, Any]) -> bool:
    status = job.get("status") or {}
    if resource == RAYJOB:
        return bool(status.get("jobDeploymentStatus") == "Running")
    return any(condition["type"] == "Running" for condition in _true_conditions(status))


def _true_conditions(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [found for found in status.get("conditions") or () if found.get("status") == "True"]


def _word_of_queue(workload: Mapping[str, Any] | None) -> str:
    for condition in ((workload or {}).get("status") or {}).get("conditions") or ():
        if condition.get("status") == "False" and condition.get("message"):
            return f"its queue: {condition['message']}"
    return "its queue has not admitted it yet"


def _word_of_pod(pod: Mapping[str, Any]) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return f"{waiting['reason']}: {waiting.get('message', '')}".strip(": ")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = condition.get("message", "")
            return scheduler_words(message)[0] if message else condition.get("reason", "not scheduled yet")
    return "not scheduled yet"


def _began(pod: Mapping[str, Any]) -> datetime.datetime | None:
    status = pod.get("status") or {}
    starts = [
        moment(state.get("startedAt"))
        for container in status.get("containerStatuses") or ()
        for state in (container.get("state") or {}).values()
    ]
    return min(filter(None, starts), default=None) or moment(status.get("startTime"))


def _phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])
