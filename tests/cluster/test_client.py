from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from kube_server import NAMESPACE, KubeServer

from fundus_r1.cluster.child import EVENTS, PODS, PYTORCHJOB, RAYJOB
from fundus_r1.cluster.client import Changed, Cluster, Exists, Gone
from fundus_r1.errors import ClusterError


def job(name: str = "job", **labels: str) -> dict:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "labels": labels},
        "spec": {"x": 1},
    }


def test_an_object_is_made_read_changed_and_removed(cluster: Cluster) -> None:
    made = cluster.create(PYTORCHJOB, job())
    assert made["metadata"]["uid"]
    assert cluster.get(PYTORCHJOB, "job") == made
    assert "managedFields" not in made["metadata"]
    changed = cluster.patch(PYTORCHJOB, "job", {"metadata": {"annotations": {"a": "b"}}})
    assert changed is not None
    assert changed["metadata"]["annotations"] == {"a": "b"}
    assert changed["spec"] == {"x": 1}
    assert cluster.delete(PYTORCHJOB, "job")
    assert not cluster.delete(PYTORCHJOB, "job")
    assert cluster.get(PYTORCHJOB, "job") is None
    assert cluster.patch(PYTORCHJOB, "job", {}) is None


def test_a_second_of_the_same_name_exists_already(cluster: Cluster) -> None:
    cluster.create(PYTORCHJOB, job())
    with pytest.raises(Exists):
        cluster.create(PYTORCHJOB, job())


def test_a_patch_of_an_old_version_is_refused(cluster: Cluster) -> None:
    old = cluster.create(PYTORCHJOB, job())["metadata"]["resourceVersion"]
    cluster.patch(PYTORCHJOB, "job", {"spec": {"x": 2}})
    with pytest.raises(Changed):
        cluster.patch(PYTORCHJOB, "job", {"metadata": {"resourceVersion": old}, "spec": {"x": 3}})
    assert cluster.get(PYTORCHJOB, "job")["spec"] == {"x": 2}  # type: ignore[index]


def test_only_the_very_object_is_removed(cluster: Cluster) -> None:
    made = cluster.create(PYTORCHJOB, job())
    with pytest.raises(Changed):
        cluster.delete(PYTORCHJOB, "job", uid="another")
    with pytest.raises(Changed):
        cluster.delete(PYTORCHJOB, "job", version="1")
    assert cluster.delete(PYTORCHJOB, "job", uid=made["metadata"]["uid"])


def test_a_removal_says_that_what_is_owned_goes_in_the_background(kube: KubeServer, cluster: Cluster) -> None:
    cluster.create(PYTORCHJOB, job())
    cluster.delete(PYTORCHJOB, "job")
    assert kube.asked("DELETE", "job")[0].body["propagationPolicy"] == "Background"  # type: ignore[index]


def test_a_list_of_many_comes_in_pages(kube: KubeServer, cluster: Cluster) -> None:
    for number in range(600):
        kube.add(PYTORCHJOB, job(f"job-{number}", half=str(number % 2)))
    found, version = cluster.list(PYTORCHJOB, labels="half=1")
    assert len(found) == 300
    assert int(version) >= 700
    assert len(kube.asked("GET", "pytorchjobs$")) == 2
    assert [
        item["metadata"]["name"] for item in cluster.list(PYTORCHJOB, fields="metadata.name=job-7")[0]
    ] == ["job-7"]


def test_a_list_whose_pages_grew_old_begins_again(kube: KubeServer, cluster: Cluster) -> None:
    for number in range(300):
        kube.add(PYTORCHJOB, job(f"job-{number}"))
    answered = kube.objects.choose
    calls = []

    def choose(*args: str) -> list[dict]:
        calls.append(args)
        if len(calls) == 2:
            kube.objects.compact()
        return answered(*args)

    kube.objects.choose = choose  # type: ignore[method-assign,assignment]
    assert len({item["metadata"]["name"] for item in cluster.list(PYTORCHJOB)[0]}) == 300
    assert len(calls) == 4


def test_all_namespaces_are_listed_where_asked(kube: KubeServer, cluster: Cluster) -> None:
    kube.add(PYTORCHJOB, job("here"))
    kube.add(PYTORCHJOB, job("there"), namespace="other")
    assert len(cluster.list(PYTORCHJOB)[0]) == 1
    assert len(cluster.list(PYTORCHJOB, everywhere=True)[0]) == 2


def test_a_watch_tells_what_happens_after_the_list(kube: KubeServer, cluster: Cluster) -> None:
    _, version = cluster.list(PYTORCHJOB)
    cluster.create(PYTORCHJOB, job("a", mine="yes"))
    cluster.create(PYTORCHJOB, job("b"))
    cluster.delete(PYTORCHJOB, "a")
    seen = [
        (kind, item["metadata"]["name"])
        for kind, item in cluster.watch(PYTORCHJOB, version, labels="mine=yes", timeout_s=1)
        if kind != "BOOKMARK"
    ]
    assert seen == [("ADDED", "a"), ("DELETED", "a")]


def test_a_watch_from_a_forgotten_version_is_gone(kube: KubeServer, cluster: Cluster) -> None:
    _, version = cluster.list(PYTORCHJOB)
    kube.objects.compact()
    with pytest.raises(Gone):
        list(cluster.watch(PYTORCHJOB, version, timeout_s=1))


def test_a_watch_whose_connection_is_cut_ends(kube: KubeServer, cluster: Cluster) -> None:
    _, version = cluster.list(PYTORCHJOB)
    threading.Timer(0.2, kube.drop_streams).start()
    started = time.monotonic()
    assert [kind for kind, _ in cluster.watch(PYTORCHJOB, version, timeout_s=30)] == ["BOOKMARK"]
    assert time.monotonic() - started < 5


def test_a_log_is_read_while_it_grows(kube: KubeServer, cluster: Cluster) -> None:
    kube.pod("pod", {}, "Running")
    kube.say("pod", "one")
    lines = cluster.logs("pod", "main", follow=True)
    assert next(lines).split(" ", 1)[1] == "one"
    kube.say("pod", "zwei – größer")
    assert next(lines).split(" ", 1)[1] == "zwei – größer"
    kube.phase("pod", "Succeeded")
    assert list(lines) == []
    assert len(list(cluster.logs("pod", "main", tail=1))) == 1


def test_a_log_that_is_not_there_is_no_permanent_failure(kube: KubeServer, cluster: Cluster) -> None:
    kube.pod("pod", {}, "Pending")
    with pytest.raises(ClusterError, match="ContainerCreating"):
        list(cluster.logs("pod", "main"))
    assert len(kube.asked("GET", "/log")) == 1


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_what_passes_is_tried_again(kube: KubeServer, cluster: Cluster, status: int) -> None:
    kube.add(PYTORCHJOB, job())
    kube.fail("GET", "pytorchjobs/job", status, times=2, retry_after="0")
    assert cluster.get(PYTORCHJOB, "job") is not None
    assert len(kube.asked("GET", "pytorchjobs/job")) == 3


def test_the_server_says_how_long_it_wants_to_be_left_alone(kube: KubeServer, cluster: Cluster) -> None:
    kube.add(PYTORCHJOB, job())
    kube.fail("GET", "pytorchjobs/job", 429, retry_after="1")
    cluster.get(PYTORCHJOB, "job")
    first, second = kube.asked("GET", "pytorchjobs/job")
    assert second.at - first.at >= 1


def test_what_does_not_pass_is_given_up_as_transient(kube: KubeServer, cluster: Cluster) -> None:
    kube.fail("GET", "pytorchjobs", 503, times=1000)
    with pytest.raises(ClusterError, match="HTTP 503") as caught:
        cluster.apart(patience_s=0.5).get(PYTORCHJOB, "job")
    assert caught.value.transient


def test_a_server_that_is_not_there_is_told_with_its_address(kube: KubeServer, cluster: Cluster) -> None:
    kube.__exit__()
    with pytest.raises(ClusterError, match="cannot be reached") as caught:
        cluster.apart(patience_s=0).get(PYTORCHJOB, "job")
    assert caught.value.where == kube.url
    assert caught.value.transient


def test_a_create_whose_answer_was_lost_is_seen_to_exist(kube: KubeServer, cluster: Cluster) -> None:
    kube.fail("POST", "pytorchjobs", 0, done=True)
    with pytest.raises(Exists):
        cluster.create(PYTORCHJOB, job())
    assert kube.names(PYTORCHJOB) == ["job"]


def test_a_missing_right_is_told_with_the_rule_that_gives_it(kube: KubeServer, cluster: Cluster) -> None:
    kube.forbidden.add(("create", "rayjobs"))
    with pytest.raises(ClusterError, match="may not create rayjobs") as caught:
        cluster.create(RAYJOB, {"metadata": {"name": "job"}})
    assert 'apiGroups: ["ray.io"], resources: ["rayjobs"], verbs: ["create"]' in caught.value.hint
    assert not caught.value.transient
    assert cluster.allowed("create", RAYJOB) == (False, "")
    assert cluster.allowed("get", RAYJOB) == (True, "")


def test_a_missing_right_to_read_logs_is_told_as_such(kube: KubeServer, cluster: Cluster) -> None:
    kube.pod("pod", {}, "Running")
    kube.forbidden.add(("get", "pods/log"))
    with pytest.raises(ClusterError, match="may not get pods/log"):
        list(cluster.logs("pod", "main"))
    assert cluster.allowed("get", PODS, subresource="log")[0] is False


def test_credentials_that_are_not_accepted_are_told(kube: KubeServer, tmp_path: Path) -> None:
    path = kube.kubeconfig(tmp_path / "kubeconfig")
    path.write_text(path.read_text().replace("a-token-for-tests", "an-old-one"))
    with pytest.raises(ClusterError, match="does not accept these credentials") as caught:
        Cluster.connect().get(PYTORCHJOB, "job")
    assert "an-old-one" not in str(caught.value)


def test_a_kind_that_no_operator_brought_is_told(kube: KubeServer, cluster: Cluster) -> None:
    kube.unserved.add(RAYJOB)
    assert not cluster.served(RAYJOB)
    assert cluster.served(PYTORCHJOB)
    with pytest.raises(ClusterError, match="does not know the kind RayJob"):
        cluster.get(RAYJOB, "job")
    assert cluster.version() == "v1.36.1"


def test_an_event_is_left_on_an_object(kube: KubeServer, cluster: Cluster) -> None:
    made = cluster.create(PYTORCHJOB, job())
    cluster.post_event(made, "Orphaned", "nobody follows it", warning=True)
    (event,) = cluster.list(EVENTS, fields="involvedObject.name=job")[0]
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Orphaned", "nobody follows it")
    assert event["involvedObject"]["uid"] == made["metadata"]["uid"]


def test_the_namespace_is_that_of_the_context_or_the_one_named(kube: KubeServer) -> None:
    assert Cluster.connect().namespace == NAMESPACE
    assert Cluster.connect("other").namespace == "other"


def test_without_a_kubeconfig_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="No Kubernetes cluster is known") as caught:
        Cluster.connect()
    assert "KUBECONFIG" in caught.value.hint
