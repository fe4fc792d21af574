"""Launchers that are killed and terminated, as processes of their own."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from cluster.scripted import JOB, Process, child, ends, eventually, workflow
from kube_server import KubeServer

from fundus_r1.cluster.child import PODS, PYTORCHJOB
from fundus_r1.cluster.owners import POD_NAME, Owner, owners


def step_pod(kube: KubeServer, owner: Owner) -> dict[str, str]:
    """The pod of a run's step, and the variable by which the step knows it."""
    name = f"{owner.name}-step"
    kube.pod(name, {"workflows.argoproj.io/workflow": owner.name}, "Running")
    return {POD_NAME: name}


def following(kube: KubeServer) -> None:
    """Waits until a launcher watches its job."""
    kube.wait_for("GET", "pytorchjobs$", 3, timeout_s=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_launcher_that_is_told_to_end_deletes_its_job_within_a_second(
    kube: KubeServer, tmp_path: Path, number: int
) -> None:
    with Process(kube, tmp_path, child()) as launcher:
        following(kube)
        uid = kube.read(PYTORCHJOB, JOB)["metadata"]["uid"]  # type: ignore[index]
        time.sleep(0.3)
        sent = launcher.signal(number)
        (deleted,) = kube.wait_for("DELETE", JOB)
        assert launcher.ended() == 128 + number
    assert deleted.at - sent < 1
    assert deleted.body is not None
    assert deleted.body["propagationPolicy"] == "Background"
    assert deleted.body["preconditions"]["uid"] == uid
    # Over a connection that was open already.
    assert deleted.port == kube.asked("GET", "/version")[0].port
    assert kube.names(PYTORCHJOB) == []


def test_a_launcher_whose_parent_dies_with_the_same_signal_still_deletes_its_job(
    kube: KubeServer, tmp_path: Path
) -> None:
    with Process(kube, tmp_path, child(), shell=True) as launcher:
        following(kube)
        sent = launcher.signal(signal.SIGTERM)
        assert kube.wait_for("DELETE", JOB)[0].at - sent < 1
        launcher.ended()
    assert kube.names(PYTORCHJOB) == []


def test_a_job_that_changed_since_it_was_seen_is_deleted_all_the_same(
    kube: KubeServer, tmp_path: Path
) -> None:
    with Process(kube, tmp_path, child()) as launcher:
        following(kube)
        kube.fail("DELETE", JOB, 409)
        sent = launcher.signal(signal.SIGTERM)
        assert kube.wait_for("DELETE", JOB, 2)[1].at - sent < 1
        assert launcher.ended() == 143
    assert kube.names(PYTORCHJOB) == []


def test_a_launcher_told_to_end_while_it_makes_its_job_leaves_none(kube: KubeServer, tmp_path: Path) -> None:
    made = kube.hold("POST", "pytorchjobs")
    with Process(kube, tmp_path, child()) as launcher:
        kube.wait_for("POST", "pytorchjobs", timeout_s=20)
        launcher.signal(signal.SIGTERM)
        kube.wait_for("GET", f"pytorchjobs/{JOB}", 2)
        made.set()
        assert launcher.ended() == 143
    eventually(lambda: kube.asked("DELETE", JOB))
    assert kube.names(PYTORCHJOB) == []


def test_a_job_of_two_runs_outlives_the_first_and_ends_with_the_second(
    kube: KubeServer, tmp_path: Path
) -> None:
    first, second = workflow(kube, "run-a"), workflow(kube, "run-b")
    with (
        Process(kube, tmp_path, child(), **step_pod(kube, first)) as one,
        Process(kube, tmp_path, child(), **step_pod(kube, second)) as other,
    ):
        both = {first.uid, second.uid}
        eventually(
            lambda: {ref["uid"] for ref in owners(kube.read(PYTORCHJOB, JOB) or {"metadata": {}})} == both,
            20,
        )
        kube.wait_for("GET", "pytorchjobs$", 6, timeout_s=20)
        time.sleep(0.3)
        one.signal(signal.SIGTERM)
        assert one.ended() == 143
        assert "goes on for 1 other run" in one.log.read_text()
        job = kube.read(PYTORCHJOB, JOB)
        assert job is not None
        assert [ref["uid"] for ref in owners(job)] == [second.uid]
        assert kube.asked("DELETE", JOB) == []
        time.sleep(0.3)
        other.signal(signal.SIGTERM)
        assert other.ended() == 143
    assert kube.names(PYTORCHJOB) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "pytorchjobs$"), ("POST", "pytorchjobs"), ("GET", "pods$")],
    ids=["before it looked", "while it made the job", "while it followed"],
)
def test_a_launcher_that_is_killed_and_started_again_makes_one_job(
    kube: KubeServer, tmp_path: Path, method: str, path: str
) -> None:
    held = kube.hold(method, path)
    with Process(kube, tmp_path, child()) as launcher:
        kube.wait_for(method, path, timeout_s=20)
        launcher.signal(signal.SIGKILL)
        assert launcher.ended() == -signal.SIGKILL
    held.set()
    with Process(kube, tmp_path, child()) as again:
        following(kube)
        eventually(lambda: kube.read(PYTORCHJOB, JOB), 20)
        kube.wait_for("GET", "pods$", 3, timeout_s=20)
        assert kube.names(PYTORCHJOB) == [JOB]
        kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
        assert again.ended() == 0
    assert kube.names(PYTORCHJOB) == [JOB]
    assert kube.asked("DELETE", ".") == []


def test_a_killed_launchers_job_is_adopted_and_its_failure_told(kube: KubeServer, tmp_path: Path) -> None:
    with Process(kube, tmp_path, child()) as launcher:
        following(kube)
        launcher.signal(signal.SIGKILL)
        launcher.ended()
    with Process(kube, tmp_path, child()) as again:
        eventually(lambda: "adopted" in again.log.read_text(), 20)
        labels = {"training.kubeflow.org/job-name": JOB, "training.kubeflow.org/replica-type": "master"}
        kube.pod("by-hand", labels, "Running")
        kube.phase("by-hand", "Failed", terminated={"exitCode": 137, "reason": "OOMKilled"})
        kube.status(PYTORCHJOB, JOB, ends("Failed", "PyTorchJobFailed"))
        assert again.ended() == 1
    told = again.log.read_text()
    assert "OOMKilled" in told
    assert "to do:" in told
    assert kube.names(PODS) == ["by-hand"]
