from __future__ import annotations

import time

import pytest
from cluster.scripted import JOB, child, eventually, pod_labels
from kube_server import KubeServer

from fundus_r1.cluster import follow
from fundus_r1.cluster.child import PODS, PYTORCHJOB, RAYJOB, TRAINJOB, Resource
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.follow import Followed, trimmed
from fundus_r1.errors import ClusterError


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_BACKOFF_S", 0.05)


def names(followed: Followed) -> list[str]:
    return [pod["metadata"]["name"] for pod in followed.pods()]


@pytest.mark.parametrize(
    ("resource", "label"),
    [
        (PYTORCHJOB, "fundus-r1.io/job"),
        (PYTORCHJOB, "training.kubeflow.org/job-name"),
        (TRAINJOB, "jobset.sigs.k8s.io/jobset-name"),
    ],
)
def test_pods_are_found_by_our_label_or_by_the_operators(
    kube: KubeServer, cluster: Cluster, resource: Resource, label: str
) -> None:
    job = kube.add(resource, child(resource).manifest)
    kube.pod("before", {label: JOB})
    kube.pod("another's", {label: "other"})
    with Followed(cluster, resource, job) as followed:
        eventually(lambda: names(followed) == ["before"])
        kube.pod("later", {label: JOB})
        eventually(lambda: names(followed) == ["before", "later"])
        kube.phase("before", "Running")
        eventually(lambda: followed.pods()[0]["status"]["phase"] == "Running")


def test_rays_pods_are_found_by_their_cluster_once_it_has_a_name(kube: KubeServer, cluster: Cluster) -> None:
    job = kube.add(RAYJOB, child(RAYJOB).manifest)
    kube.pod("head", {"ray.io/cluster": "ray-1"})
    with Followed(cluster, RAYJOB, job) as followed:
        kube.status(RAYJOB, JOB, {"rayClusterName": "ray-1"})
        eventually(lambda: names(followed) == ["head"])


def test_a_history_that_was_lost_is_made_up_for(kube: KubeServer, cluster: Cluster) -> None:
    job = kube.add(PYTORCHJOB, child().manifest)
    kube.pod("stays", pod_labels())
    kube.pod("goes", pod_labels())
    with Followed(cluster, PYTORCHJOB, job) as followed:
        eventually(lambda: len(names(followed)) == 2)
        with kube.objects.moved:
            kube.remove(PODS, "goes")
            kube.pod("comes", pod_labels())
            kube.objects.compact()
            kube.fail("GET", "pods$", 503)
            kube.drop_streams()
        eventually(lambda: names(followed) == ["comes", "stays"])
        assert [pod["metadata"]["name"] for pod in followed.lost] == ["goes"]


def test_a_job_that_went_unseen_is_gone(kube: KubeServer, cluster: Cluster) -> None:
    job = kube.add(PYTORCHJOB, child().manifest)
    kube.remove(PYTORCHJOB, JOB)
    kube.add(PYTORCHJOB, child().manifest)  # another of this name
    with Followed(cluster, PYTORCHJOB, job) as followed:
        eventually(lambda: followed.job is None)


def test_what_waiting_does_not_cure_ends_it(kube: KubeServer, cluster: Cluster) -> None:
    job = kube.add(PYTORCHJOB, child().manifest)
    kube.forbidden.add(("watch", "pods"))
    with (
        Followed(cluster, PYTORCHJOB, job) as followed,
        pytest.raises(ClusterError, match="may not watch pods"),
    ):
        for _ in range(50):
            followed.wait(0.2)


def test_idle_it_asks_for_nothing(kube: KubeServer, cluster: Cluster) -> None:
    job = kube.add(PYTORCHJOB, child().manifest)
    with Followed(cluster, PYTORCHJOB, job):
        kube.wait_for("GET", "", 6)
        before = len(kube.requests)
        time.sleep(0.5)
        assert len(kube.requests) == before == 6  # a list and a watch of the job, of pods by two labels


def test_of_a_pod_only_what_is_read_is_kept(kube: KubeServer) -> None:
    pod = kube.pod("pod", pod_labels(), "Running")
    pod["metadata"]["annotations"] = {"a": "b" * 5000}
    pod["spec"]["volumes"] = [{"name": "v" * 5000}]
    kept = trimmed(pod)
    assert len(str(kept)) < 1000
    assert kept["status"]["phase"] == "Running"
    assert kept["spec"]["containers"][0]["name"] == "main"
