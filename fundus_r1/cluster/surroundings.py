"""What stands around a job's pods and says why they are not there or were ended: the job's status, events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fundus_r1.cluster.faults import COMES_AGAIN, SHORT_OF_TIME, conditions, shortly
from fundus_r1.cluster.signs import Blame, Reading, read_lines
from fundus_r1.errors import EXIT_TRANSIENT

_LOST_HEAD = frozenset({"JobStatusCheckTimeoutExceeded", "JobDeploymentStatusTransitionGracePeriodExceeded"})
_BACKOFF_LIMIT = re.compile(r"backoff ?limit", re.IGNORECASE)
_DRIVER = re.compile(r"entrypoint command failed with exit code (\d+)")
_DEADLINE = re.compile(r"DeadlineExceeded|active longer than specified deadline")


def of_job(job: dict[str, Any]) -> Reading | None:
    """What the job's own status says: its time is over, Ray's head is lost, it was refused."""
    status = job.get("status") or {}
    told = [(c.get("reason") or "", c.get("message") or "") for c in conditions(job, "Failed")]
    told.append((status.get("reason") or "", status.get("message") or ""))
    for reason, message in told:
        if reason == "PreRunningDeadlineExceeded":
            hint = "raise placement.cluster.grpo.clocks.queue_s, or ask for less"
            return Reading("deadline", "found no room in the time that it may wait", hint, True, Blame.AROUND)
        if _DEADLINE.search(f"{reason} {message}"):
            said = "ran longer than its clock allows and was ended"
            return Reading("deadline", said, SHORT_OF_TIME, False, Blame.CLOCK)
        if reason in _LOST_HEAD:
            return Reading(
                "Ray head lost",
                f"lost Ray's head, which no longer says how the job is ({reason}): {shortly(message)}",
                "look at the head's node and memory (placement.cluster.grpo.head); " + COMES_AGAIN,
                True,
                Blame.AROUND,
            )
        if status.get("jobDeploymentStatus") == "ValidationFailed":
            hint = "correct the placement; fundus-r1 plan --manifests shows what was sent"
            said = f"was refused by its operator: {shortly(message)}"
            return Reading("refused", said, hint, False, Blame.AROUND)
    if (code := driver_exit_code(job)) is not None:
        # Ray repeats the driver's last lines there.
        lines = str(status["message"]).splitlines()
        said = f"ended with exit code {code} of its driver, whose last lines do not say why"
        hint = "look at the driver's whole log in the store"
        return read_lines(lines, code) or Reading("unknown", said, hint, code == EXIT_TRANSIENT, Blame.CRASH)
    if told := [t for t in told if t[1] and not _BACKOFF_LIMIT.search(t[1])]:
        reason, message = told[0]
        said = f"failed ({reason or 'no reason given'}): {shortly(message)}"
        return Reading("unknown", said, "look at its pods' logs in the store", False, Blame.NOTHING)
    return None


def driver_exit_code(job: Mapping[str, Any]) -> int | None:
    """How the driver of a RayJob ended, which its submitter does not pass on: that ends with 1."""
    found = _DRIVER.search(str((job.get("status") or {}).get("message") or ""))
    return int(found[1]) if found else None


def of_event(event: dict[str, Any]) -> Reading | None:
    """What an event about the job, its Workload or another object around its pods says."""
    reason, message = event.get("reason") or "", event.get("message") or ""
    if event.get("type") == "Warning" and "exceeded quota" in message:
        return Reading(
            "quota exceeded",
            f"may not have its pods: {shortly(message)}",
            "ask for less in placement.cluster, wait for other jobs, or have the ResourceQuota raised",
            True,
            Blame.AROUND,
        )
    if reason.startswith("FailedCreate") and re.search(r"forbidden|admission webhook|violates", message):
        return Reading(
            "refused",
            f"may not have its pods: {shortly(message)}",
            "keep to the namespace's LimitRange, pod security and policies, or have them changed",
            False,
            Blame.AROUND,
        )
    if reason.startswith("EvictedDueTo") or (reason in ("Preempted", "Stopped") and "reempt" in message):
        return Reading("preempted", f"was preempted: {shortly(message)}", COMES_AGAIN, True, Blame.OWN)
    if _kind(event) == "Workload" and reason in ("Pending", "Inadmissible") and message:
        missing = re.search(r"doesn't exist|not found|inactive|stopped|not allowed", message)
        return Reading(
            "Kueue inadmissible",
            f"was not admitted by Kueue: {shortly(message)}",
            "name a LocalQueue that exists and whose ClusterQueue has the resources and flavors"
            if missing
            else "wait, ask for less, or have the ClusterQueue's quota raised",
            not missing,
            Blame.AROUND,
        )
    return None


def _kind(event: dict[str, Any]) -> str:
    return str((event.get("involvedObject") or {}).get("kind") or "")
