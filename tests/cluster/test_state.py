from __future__ import annotations

from typing import Any

import pytest

from fundus_r1.cluster.child import PYTORCHJOB, RAYJOB, TRAINJOB, Resource
from fundus_r1.cluster.state import Phase, cannot_start, read_state, word_of_pods


def condition(kind: str, status: str = "True", **more: str) -> dict[str, Any]:
    return {"type": kind, "status": status, **more}


def conditions(*found: dict[str, Any]) -> dict[str, Any]:
    return {"status": {"conditions": list(found)}}


def pod(phase: str, name: str = "pod", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": phase, **status}}


@pytest.mark.parametrize(
    ("resource", "job", "phase"),
    [
        (PYTORCHJOB, {}, Phase.QUEUED),
        (PYTORCHJOB, conditions(condition("Created")), Phase.QUEUED),
        (PYTORCHJOB, conditions(condition("Running")), Phase.RUNNING),
        (PYTORCHJOB, conditions(condition("Running", "False"), condition("Succeeded")), Phase.SUCCEEDED),
        (PYTORCHJOB, conditions(condition("Running", "False"), condition("Failed")), Phase.FAILED),
        (PYTORCHJOB, conditions(condition("Running"), condition("Restarting", "False")), Phase.RUNNING),
        (PYTORCHJOB, {"spec": {"runPolicy": {"suspend": True}}}, Phase.QUEUED),
        (TRAINJOB, conditions(condition("Complete")), Phase.SUCCEEDED),
        (TRAINJOB, conditions(condition("Failed")), Phase.FAILED),
        (TRAINJOB, conditions(condition("Complete", "False"), condition("Failed", "False")), Phase.QUEUED),
        (TRAINJOB, {"spec": {"suspend": True}}, Phase.QUEUED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Initializing"}}, Phase.QUEUED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}}, Phase.RUNNING),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}}, Phase.SUCCEEDED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}}, Phase.FAILED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}}, Phase.FAILED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}}, Phase.FAILED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "ValidationFailed"}}, Phase.FAILED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}}, Phase.QUEUED),
        (RAYJOB, {"status": {"jobDeploymentStatus": "Suspended"}, "spec": {"suspend": True}}, Phase.QUEUED),
    ],
)
def test_the_jobs_own_status_is_read(resource: Resource, job: dict[str, Any], phase: Phase) -> None:
    assert read_state(resource, job, []).phase is phase


def test_a_failure_carries_its_operators_words() -> None:
    job = conditions(condition("Failed", reason="PyTorchJobFailed", message="2 replicas failed"))
    assert read_state(PYTORCHJOB, job, []).reason == "PyTorchJobFailed: 2 replicas failed"


def test_a_group_of_which_one_pod_finds_no_room_waits() -> None:
    message = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    unschedulable = condition("PodScheduled", "False", reason="Unschedulable", message=message)
    pods = [pod("Running", "a"), pod("Pending", "b", conditions=[unschedulable])]
    state = read_state(PYTORCHJOB, conditions(condition("Running")), pods)
    assert state.phase is Phase.QUEUED
    assert state.reason.startswith("b: 4 with too little free nvidia.com/gpu")


def test_a_job_that_runs_began_with_the_first_of_its_pods() -> None:
    started = [{"state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]
    pods = [
        pod("Running", "a", containerStatuses=started),
        pod("Running", "b", startTime="2026-01-01T00:00:09Z"),
        pod("Running", "c"),
    ]
    state = read_state(PYTORCHJOB, {}, pods)
    assert state.phase is Phase.RUNNING
    assert state.since is not None
    assert state.since.isoformat() == "2026-01-01T00:00:05+00:00"


def test_a_job_that_its_queue_holds_back_waits_for_what_the_queue_says() -> None:
    job = {"spec": {"suspend": True}}
    workload = conditions(condition("QuotaReserved", "False", message="couldn't assign flavors: no gpu"))
    assert read_state(RAYJOB, job, [], workload).reason == "its queue: couldn't assign flavors: no gpu"
    assert read_state(RAYJOB, job, []).reason == "its queue has not admitted it yet"


@pytest.mark.parametrize(
    ("phases", "word"),
    [
        ((), None),
        (("Running", "Failed"), None),
        (("Pending",), None),
        (("Succeeded", "Pending"), None),
        (("Succeeded", "Succeeded"), Phase.SUCCEEDED),
        (("Succeeded", "Failed"), Phase.FAILED),
        (("Pending", "Failed"), Phase.FAILED),
    ],
)
def test_pods_have_a_word_when_none_runs_any_more(phases: tuple[str, ...], word: Phase | None) -> None:
    assert word_of_pods([pod(phase) for phase in phases]) is word


@pytest.mark.parametrize(
    ("reason", "stuck"),
    [
        ("ContainerCreating", False),
        ("PodInitializing", False),
        ("ImagePullBackOff", True),
        ("ErrImagePull", True),
    ],
)
def test_a_pod_without_its_image_has_room_and_cannot_start(reason: str, stuck: bool) -> None:
    waiting = [{"state": {"waiting": {"reason": reason, "message": "why"}}}]
    found = pod("Pending", containerStatuses=waiting)
    assert cannot_start(found) == stuck
    assert read_state(PYTORCHJOB, {}, [found]).reason == f"pod: {reason}: why"
