from __future__ import annotations

import time

import pytest
from cluster.scripted import FP, JOB, Launched, child, ends, eventually, heard, pod_labels, workflow
from kube_server import KubeServer

from fundus_r1.cluster import evidence, verdict
from fundus_r1.cluster import launch as protocol
from fundus_r1.cluster.child import (
    EVENTS,
    FINGERPRINT,
    PODS,
    PYTORCHJOB,
    RAYJOB,
    SEEN,
    TRAINJOB,
    WORKLOAD,
    Resource,
)
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.launch import JobError, Terms, launch
from fundus_r1.cluster.owners import owners
from fundus_r1.errors import ClusterError, StageError
from fundus_r1.spec.cluster import Clocks
from fundus_r1.storage.folder import FolderStore


@pytest.fixture(autouse=True)
def short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for because a cluster may say more comes at once here, or not at all."""
    for name in ("ENDED_S", "SILENT_S", "STUCK_S"):
        monkeypatch.setattr(verdict, name, 0.3)
    monkeypatch.setattr(evidence, "EVERY_S", 0.1)
    for name in ("_SETTLE_S", "_CHANGED_S", "_LOOK_S"):
        monkeypatch.setattr(protocol, name, 0.2)


def test_a_job_is_made_followed_and_succeeds(
    kube: KubeServer, cluster: Cluster, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = workflow(kube, "run-a")
    launched = Launched(cluster, child(), Terms(owner=owner, made=lambda: True, store=store))
    job = eventually(lambda: kube.read(PYTORCHJOB, JOB))
    assert job["metadata"]["ownerReferences"] == [owner.reference()]
    assert SEEN in job["metadata"]["annotations"]
    kube.pod(f"{JOB}-master-0", pod_labels(), owner=job)
    kube.pod(f"{JOB}-worker-0", pod_labels(index=0), owner=job)
    for pod in (f"{JOB}-master-0", f"{JOB}-worker-0"):
        kube.phase(pod, "Running", running={"startedAt": "2026-01-01T00:00:00Z"})
    kube.say(f"{JOB}-master-0", "[sft] 120/2504 steps, 0.4/s, 5960 s left, loss 0.31")
    kube.say(f"{JOB}-worker-0", "hello")
    for pod in (f"{JOB}-master-0", f"{JOB}-worker-0"):
        kube.phase(pod, "Succeeded", terminated={"exitCode": 0})
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    assert launched.ended() == JOB
    told = capsys.readouterr().err
    assert "[master] [sft] 120/2504 steps, 0.4/s, 5960 s left, loss 0.31\n" in told
    assert "[worker-0] hello\n" in told
    log = store.get(f"jobs/{JOB}/logs/{JOB}-worker-0.log")
    assert log is not None
    assert log.decode().endswith("Z hello\n")
    assert kube.read(PYTORCHJOB, JOB) is not None  # its time to live takes it


def test_success_without_a_record_is_a_failure(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child(), Terms(made=lambda: False))
    eventually(lambda: kube.read(PYTORCHJOB, JOB))
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    with pytest.raises(StageError, match="wrote no record") as caught:
        launched.ended()
    assert JOB in caught.value.where


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        (TRAINJOB, ends("Complete")),
        (RAYJOB, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}),
    ],
)
def test_each_kind_of_job_can_succeed(
    kube: KubeServer, cluster: Cluster, resource: Resource, status: dict
) -> None:
    launched = Launched(cluster, child(resource))
    eventually(lambda: kube.read(resource, JOB))
    kube.status(resource, JOB, status)
    assert launched.ended() == JOB


def failed_pod(kube: KubeServer, launched: Launched, state: dict, *lines: str, phase: str = "Failed") -> None:
    job = eventually(lambda: kube.read(PYTORCHJOB, JOB) or launched.over)
    kube.pod(f"{JOB}-master-0", pod_labels(), "Running", owner=job)
    kube.say(f"{JOB}-master-0", *lines)
    kube.phase(f"{JOB}-master-0", phase, **state)


@pytest.mark.parametrize(
    ("state", "lines", "said", "transient"),
    [
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, (), "memory", False),
        ({"terminated": {"exitCode": 1}}, ("ncclSystemError: a peer is gone", "NCCL error"), "NCCL", None),
        ({"terminated": {"exitCode": 1}}, ("The images are broken",), "exit code 1", False),
        ({"terminated": {"exitCode": 75}}, (), "", True),
    ],
)
def test_a_failed_job_fails_its_step_with_a_diagnosis(
    kube: KubeServer, cluster: Cluster, state: dict, lines: tuple[str, ...], said: str, transient: bool | None
) -> None:
    launched = Launched(cluster, child())
    failed_pod(kube, launched, state, *lines)
    kube.status(PYTORCHJOB, JOB, ends("Failed", "PyTorchJobFailed", "a replica failed"))
    with pytest.raises(JobError, match=said) as caught:
        launched.ended()
    if transient is not None:
        assert caught.value.transient == transient
        assert caught.value.exit_code == (75 if transient else 1)
    assert JOB in caught.value.where
    assert "### Pods" in caught.value.markdown
    assert all(line in caught.value.markdown for line in lines)
    assert kube.read(PYTORCHJOB, JOB) is not None


def test_a_failed_pod_fails_the_step_although_the_operator_is_silent(
    kube: KubeServer, cluster: Cluster
) -> None:
    launched = Launched(cluster, child())
    failed_pod(kube, launched, {"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    with pytest.raises(JobError, match="memory"):
        launched.ended()
    # It does not end by itself, so nobody but its launcher takes it away.
    assert kube.read(PYTORCHJOB, JOB) is None


def test_pods_that_succeeded_are_believed_where_the_operator_is_silent(
    kube: KubeServer, cluster: Cluster
) -> None:
    launched = Launched(cluster, child())
    failed_pod(kube, launched, {"terminated": {"exitCode": 0}}, phase="Succeeded")
    assert launched.ended() == JOB


def test_an_image_that_cannot_be_pulled_is_no_wait_for_room(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child())
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling "image": not found'}
    failed_pod(kube, launched, {"waiting": waiting}, phase="Pending")
    with pytest.raises(JobError, match="image"):
        launched.ended()
    assert kube.read(PYTORCHJOB, JOB) is None


def unschedulable(kube: KubeServer, pod: str) -> None:
    message = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    kube.status(PODS, pod, {"conditions": [condition]})


def test_a_job_may_wait_for_room_and_says_what_for(
    kube: KubeServer, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = Launched(cluster, child(), Terms(clocks=Clocks(queue_s=None, run_s=0.01)))
    job = eventually(lambda: kube.read(PYTORCHJOB, JOB))
    kube.pod(f"{JOB}-master-0", pod_labels(), owner=job)
    unschedulable(kube, f"{JOB}-master-0")
    heard(capsys, "waits for room: master: 4 with too little free nvidia.com/gpu")
    assert not launched.over
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    launched.ended()


def test_a_job_that_waits_longer_than_it_may_is_taken_back(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child(), Terms(clocks=Clocks(queue_s=1.5)))
    job = eventually(lambda: kube.read(PYTORCHJOB, JOB))
    kube.pod(f"{JOB}-master-0", pod_labels(), owner=job)
    unschedulable(kube, f"{JOB}-master-0")
    with pytest.raises(JobError, match=r"found no room in 1\.5 s.*too little free nvidia") as caught:
        launched.ended()
    assert caught.value.transient
    assert kube.read(PYTORCHJOB, JOB) is None


def test_a_job_that_runs_longer_than_it_may_is_ended(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child(), Terms(clocks=Clocks(run_s=1)))
    job = eventually(lambda: kube.read(PYTORCHJOB, JOB))
    kube.pod(f"{JOB}-master-0", pod_labels(), "Running", owner=job)
    with pytest.raises(JobError, match="ran for more than 1 s") as caught:
        launched.ended()
    assert not caught.value.transient
    assert kube.read(PYTORCHJOB, JOB) is None
    assert kube.names(PODS) == []


def test_pods_that_may_not_be_made_are_no_wait_for_room(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child())
    job = eventually(lambda: kube.read(PYTORCHJOB, JOB))
    about = {"kind": "PyTorchJob", "name": JOB, "uid": job["metadata"]["uid"]}
    kube.add(
        EVENTS,
        {
            "metadata": {"name": "event"},
            "involvedObject": about,
            "type": "Warning",
            "reason": "FailedCreatePod",
            "message": "pods is forbidden: violates PodSecurity",
            "lastTimestamp": "2030-01-01T00:00:00Z",
        },
    )
    with pytest.raises(JobError, match="violates PodSecurity"):
        launched.ended()


def test_a_preempted_pod_is_made_again_and_the_job_goes_on(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child())
    failed_pod(kube, launched, {"running": {}}, phase="Running")
    kube.remove(PODS, f"{JOB}-master-0")
    time.sleep(0.6)
    assert not launched.over
    failed_pod(kube, launched, {"terminated": {"exitCode": 0}}, "again", phase="Succeeded")
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    assert launched.ended() == JOB


def test_a_preempted_job_that_fails_may_be_tried_again(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child())
    failed_pod(kube, launched, {"running": {}}, phase="Running")
    kube.wait_for("GET", "/log")
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    kube.status(PODS, f"{JOB}-master-0", {"conditions": [disrupted]})
    kube.remove(PODS, f"{JOB}-master-0")
    kube.status(PYTORCHJOB, JOB, ends("Failed", "PyTorchJobFailed"))
    with pytest.raises(JobError, match="preempted") as caught:
        launched.ended()
    assert caught.value.transient


def test_a_job_that_somebody_deletes_fails_its_step(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child())
    eventually(lambda: kube.read(PYTORCHJOB, JOB))
    time.sleep(0.2)
    kube.remove(PYTORCHJOB, JOB)
    with pytest.raises(JobError, match="was deleted while it was followed") as caught:
        launched.ended()
    assert caught.value.transient


def test_a_running_job_is_adopted_by_a_second_run_which_becomes_an_owner(
    kube: KubeServer, cluster: Cluster
) -> None:
    first, second = workflow(kube, "run-a"), workflow(kube, "run-b")
    one = Launched(cluster, child(run="run-a"), Terms(owner=first))
    eventually(lambda: kube.read(PYTORCHJOB, JOB))
    other = Launched(cluster, child(run="run-b"), Terms(owner=second))
    eventually(lambda: len(owners(kube.read(PYTORCHJOB, JOB))) == 2)  # type: ignore[arg-type]
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    assert one.ended() == other.ended() == JOB
    assert kube.names(PYTORCHJOB) == [JOB]


def test_a_job_changed_while_it_is_adopted_is_adopted_all_the_same(
    kube: KubeServer, cluster: Cluster
) -> None:
    kube.add(PYTORCHJOB, child().manifest)
    kube.fail("PATCH", JOB, 409)
    owner = workflow(kube, "run-b")
    launched = Launched(cluster, child(), Terms(owner=owner))
    eventually(lambda: owners(kube.read(PYTORCHJOB, JOB)) == [owner.reference()])  # type: ignore[arg-type]
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    launched.ended()


@pytest.mark.parametrize("ended", ["Failed", "Succeeded"])
def test_after_a_job_that_made_nothing_a_next_attempt_is_made(
    kube: KubeServer, cluster: Cluster, ended: str
) -> None:
    kube.add(PYTORCHJOB, child().manifest)
    kube.status(PYTORCHJOB, JOB, ends(ended))
    launched = Launched(cluster, child(), Terms(made=lambda: True))
    second = eventually(lambda: kube.read(PYTORCHJOB, f"{JOB}-a2"))
    assert second["metadata"]["labels"]["fundus-r1.io/job"] == f"{JOB}-a2"
    kube.remove(PYTORCHJOB, JOB)  # its time to live is over
    owner = workflow(kube, "run-b")
    again = Launched(cluster, child(), Terms(owner=owner, made=lambda: True))
    eventually(lambda: owners(kube.read(PYTORCHJOB, f"{JOB}-a2")) == [owner.reference()])  # type: ignore[arg-type]
    kube.status(PYTORCHJOB, f"{JOB}-a2", ends("Succeeded"))
    assert launched.ended() == again.ended() == f"{JOB}-a2"
    assert kube.names(PYTORCHJOB) == [f"{JOB}-a2"]


def test_a_job_that_is_being_deleted_is_not_adopted(kube: KubeServer, cluster: Cluster) -> None:
    kube.add(PYTORCHJOB, child().manifest)
    kube.edit(PYTORCHJOB, JOB, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    launched = Launched(cluster, child())
    eventually(lambda: kube.read(PYTORCHJOB, f"{JOB}-a2"))
    kube.status(PYTORCHJOB, f"{JOB}-a2", ends("Succeeded"))
    assert launched.ended() == f"{JOB}-a2"


def test_a_job_of_this_name_with_another_output_is_refused(kube: KubeServer, cluster: Cluster) -> None:
    other = child().manifest
    other["metadata"]["annotations"] = {FINGERPRINT: FP[::-1]}
    kube.add(PYTORCHJOB, other)
    with pytest.raises(ClusterError, match="makes another output"):
        launch(cluster, child(), Terms())


def test_a_create_whose_answer_is_lost_makes_one_job(kube: KubeServer, cluster: Cluster) -> None:
    kube.fail("POST", "pytorchjobs", 0, done=True)
    launched = Launched(cluster, child())
    eventually(lambda: kube.read(PYTORCHJOB, JOB))
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    assert launched.ended() == JOB
    assert kube.names(PYTORCHJOB) == [JOB]


def test_an_api_server_that_throttles_drops_and_forgets_is_borne(kube: KubeServer, cluster: Cluster) -> None:
    kube.fail("POST", "pytorchjobs", 429, retry_after="0")
    kube.fail("GET", "pytorchjobs", 503, times=3)
    launched = Launched(cluster, child())
    eventually(lambda: kube.read(PYTORCHJOB, JOB))
    kube.wait_for("GET", "pods$", 3)
    kube.objects.compact()
    kube.fail("GET", "pods$", 0, times=2)
    kube.drop_streams()
    failed_pod(kube, launched, {"terminated": {"exitCode": 0}}, "a line", phase="Succeeded")
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    assert launched.ended() == JOB


def test_signs_of_life_are_left_on_the_job(kube: KubeServer, cluster: Cluster) -> None:
    launched = Launched(cluster, child(), Terms(heartbeat_s=0.1))
    kube.wait_for("PATCH", JOB, 3)
    body = kube.asked("PATCH", JOB)[-1].body
    assert body is not None
    assert list(body["metadata"]["annotations"]) == [SEEN]
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    launched.ended()


def test_a_job_held_back_by_its_queue_waits_for_what_the_queue_says(
    kube: KubeServer, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    what = child()
    what.manifest["spec"] = {"runPolicy": {"suspend": True}}
    launched = Launched(cluster, what)
    job = eventually(lambda: kube.read(PYTORCHJOB, JOB))
    condition = {"type": "QuotaReserved", "status": "False", "message": "insufficient unused quota for gpu"}
    kube.add(
        WORKLOAD,
        {
            "metadata": {"name": "w", "labels": {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}},
            "status": {"conditions": [condition]},
        },
    )
    heard(capsys, "waits for room: its queue")
    kube.edit(PYTORCHJOB, JOB, {"spec": {"runPolicy": {"suspend": False}}})
    kube.status(PYTORCHJOB, JOB, ends("Succeeded"))
    launched.ended()
