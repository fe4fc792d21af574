"""Why a job failed, and whether another try may help: a pure function of what the cluster said.

When one pod of a group fails, the others fail after it: they lose their peer, wait in vain for NCCL, or are
told to end. The culprit is the pod that failed by itself, the first of these in time; `Blame` says how much
each finding explains. Without such a pod the job's own status and the events around it explain the failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fundus_r1.cluster.child import RAYJOB
from fundus_r1.cluster.faults import finished_containers, of_pod
from fundus_r1.cluster.signs import Blame, Reading
from fundus_r1.cluster.story import SUBMITTER, Story, role_of, tell, without_secrets
from fundus_r1.cluster.surroundings import driver_exit_code, of_event, of_job

_NEVER = "9999"
_UNKNOWN = Reading(
    "unknown",
    "failed, and neither its status, its pods nor the events say why",
    "look at its pods' logs in the store, and at the operator's own log",
    False,
    Blame.NOTHING,
)


@dataclass(frozen=True)
class Diagnosis:
    """Why a job failed."""

    kind: str
    """Short name of the kind: ``OOMKilled``, ``unschedulable``, ``preempted``, ``NCCL``, ``own error`` …"""
    message: str
    """One sentence, with the role of the pod that failed."""
    hint: str
    """What to do."""
    transient: bool
    """Whether another try may help."""
    markdown: str
    """The whole story for a person: pods, events, last lines, what to do. No value of a secret is in it."""


@dataclass(frozen=True)
class _Finding:
    reading: Reading
    time: str
    """RFC 3339 in UTC, which sorts."""
    pod: dict[str, Any] | None = None

    @property
    def order(self) -> tuple[Blame, str]:
        return self.reading.blame, self.time


def diagnose(
    stage: str,
    job: Mapping[str, Any],
    pods: Sequence[dict[str, Any]],
    events: Sequence[dict[str, Any]],
    tails: Mapping[str, Sequence[str]],
) -> Diagnosis:
    """The cause of a job's failure.

    Args:
        stage: the job is of.
        job: as the API gives it; empty if it is gone.
        pods: of the job, also those that are not there any more but were seen to fail.
        events: about the job, its pods, its Workload and what lies between.
        tails: name of a pod -> last lines of its log, with or without the time in front.
    """
    driver = driver_exit_code(job)
    found = [finding for pod in pods if (finding := _of_pod(pod, tails, events, driver))]
    found += [_Finding(read, _time_of(e)) for e in events if (read := of_event(e)) and _lasts(e, pods)]
    if told := of_job(dict(job)):
        found.append(_Finding(told, _NEVER))
    if head := _head_gone(job, pods):
        found.append(_Finding(head, _NEVER))
    cause = min(found, key=lambda finding: finding.order, default=_Finding(_UNKNOWN, _NEVER))
    reading, culprit = cause.reading, cause.pod
    who = role_of(culprit) if culprit is not None else "the job"
    message = without_secrets(f"{stage}: {who} {reading.said}.")
    hint = without_secrets(reading.hint.replace("<stage>", stage))
    story = Story(message, hint, reading.transient, pods, events, culprit, tails)
    return Diagnosis(reading.kind, message, hint, reading.transient, tell(story))


def _of_pod(
    pod: dict[str, Any],
    tails: Mapping[str, Sequence[str]],
    events: Sequence[dict[str, Any]],
    driver_code: int | None,
) -> _Finding | None:
    name = pod["metadata"]["name"]
    about = [e for e in events if (e.get("involvedObject") or {}).get("name") == name]
    speaks_for = driver_code if role_of(pod) == SUBMITTER else None
    reading = of_pod(pod, tails.get(name, ()), about, driver_code=speaks_for)
    return _Finding(reading, _failed_at(pod), pod) if reading else None


def _failed_at(pod: dict[str, Any]) -> str:
    """When a pod's first container ended; a disrupted pod is told so before."""
    times = [ended.get("finishedAt") or _NEVER for _, ended in finished_containers(pod)]
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("lastTransitionTime"):
            times.append(condition["lastTransitionTime"])
    return min(times, default=_NEVER)


def _lasts(event: dict[str, Any], pods: Sequence[dict[str, Any]]) -> bool:
    """Whether an event still explains something: what kept pods away does not once they were made."""
    return _time_of(event) >= min((p["metadata"].get("creationTimestamp") or "" for p in pods), default="")


def _time_of(event: dict[str, Any]) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or _NEVER


def _head_gone(job: Mapping[str, Any], pods: Sequence[dict[str, Any]]) -> Reading | None:
    """A Ray cluster whose workers are there without their head."""
    types = [(p["metadata"].get("labels") or {}).get("ray.io/node-type") for p in pods]
    if job.get("kind") != RAYJOB.kind or "worker" not in types or "head" in types:
        return None
    return Reading(
        "Ray head lost",
        "lost Ray's head: its pod is gone, and the workers have nobody who leads them",
        "look at the events of the head's node; another try goes on from the last checkpoint",
        True,
        Blame.AROUND,
    )
