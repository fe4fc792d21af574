from __future__ import annotations

import datetime
from typing import Any

import pytest
from kube_server import KubeServer

from fundus_r1.cluster.child import (
    EVENTS,
    JOBS,
    MANAGED_BY,
    MANAGER,
    PYTORCHJOB,
    RAYJOB,
    SEEN,
    TRAINJOB,
    WORKFLOW,
    Resource,
)  # fmt: skip
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.reap import Verdict, reap, release


def ago(minutes: float) -> str:
    return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=minutes)).isoformat()


def workflow(kube: KubeServer, name: str, phase: str = "Running") -> dict[str, str]:
    """A Workflow, as an owner names it."""
    made = kube.add(WORKFLOW, {"metadata": {"name": name}, "status": {"phase": phase}})
    return owner(name, made["metadata"]["uid"])


def owner(name: str, uid: str = "of-another-time", kind: str = "Workflow") -> dict[str, str]:
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "name": name, "uid": uid}


def job(
    kube: KubeServer,
    name: str,
    *owners: dict[str, str],
    seen: str | None = None,
    resource: Resource = PYTORCHJOB,
    status: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
) -> None:
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {MANAGED_BY: MANAGER} if labels is None else labels,
        "ownerReferences": list(owners),
        "annotations": {SEEN: seen or ago(60)},
    }
    kube.add(resource, {"metadata": metadata, "status": status or {}})


def actions(found: list[Verdict]) -> dict[str, str]:
    return {verdict.name: verdict.action for verdict in found}


def owners_of(kube: KubeServer, name: str) -> list[str]:
    found = kube.read(PYTORCHJOB, name)
    assert found is not None
    return [ref["name"] for ref in found["metadata"]["ownerReferences"]]


@pytest.mark.parametrize("resource", JOBS)
def test_a_job_whose_workflow_is_gone_and_launcher_silent_is_deleted_with_an_event(
    kube: KubeServer, cluster: Cluster, resource: Resource
) -> None:
    job(kube, "fr1-sft-a", owner("gone"), resource=resource)
    assert actions(reap(cluster)) == {"fr1-sft-a": "deleted"}
    assert kube.names(resource) == []
    (event,) = cluster.list(EVENTS)[0]
    assert event["involvedObject"]["name"] == "fr1-sft-a"
    assert event["involvedObject"]["kind"] == resource.kind
    assert "Workflow gone ended" in event["message"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error"])
def test_a_workflow_that_ended_owns_nothing_any_more(kube: KubeServer, cluster: Cluster, phase: str) -> None:
    job(kube, "fr1-sft-a", workflow(kube, "done", phase))
    assert actions(reap(cluster)) == {"fr1-sft-a": "deleted"}


def test_a_workflow_of_the_same_name_is_another_owner(kube: KubeServer, cluster: Cluster) -> None:
    workflow(kube, "run")
    job(kube, "fr1-sft-a", owner("run", "uid-of-the-one-before"))
    assert actions(reap(cluster)) == {"fr1-sft-a": "deleted"}


def test_a_job_with_a_living_owner_is_never_deleted_and_loses_the_dead_ones(
    kube: KubeServer, cluster: Cluster
) -> None:
    job(kube, "fr1-sft-a", owner("gone"), workflow(kube, "alive"), seen=ago(6000))
    assert actions(reap(cluster)) == {"fr1-sft-a": "disowned"}
    assert owners_of(kube, "fr1-sft-a") == ["alive"]
    assert actions(reap(cluster)) == {"fr1-sft-a": "kept"}


def test_a_launcher_that_was_heard_of_keeps_its_job(kube: KubeServer, cluster: Cluster) -> None:
    job(kube, "fr1-sft-a", owner("gone"), seen=ago(14))
    job(kube, "fr1-sft-b", seen=ago(14))
    assert actions(reap(cluster)) == {"fr1-sft-a": "disowned", "fr1-sft-b": "kept"}
    assert actions(reap(cluster, stale_s=600)) == {"fr1-sft-a": "deleted", "fr1-sft-b": "deleted"}


def test_without_a_sign_of_life_the_time_of_its_making_counts(kube: KubeServer, cluster: Cluster) -> None:
    job(kube, "fr1-sft-a", seen="not a time")
    assert actions(reap(cluster)) == {"fr1-sft-a": "kept"}
    late = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    assert actions(reap(cluster, now=late)) == {"fr1-sft-a": "deleted"}


def test_an_owner_of_another_kind_is_for_kubernetes_to_judge(kube: KubeServer, cluster: Cluster) -> None:
    job(kube, "fr1-sft-a", owner("a-pod", kind="Pod"))
    assert actions(reap(cluster)) == {"fr1-sft-a": "kept"}


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        (PYTORCHJOB, {"conditions": [{"type": "Succeeded", "status": "True"}]}),
        (PYTORCHJOB, {"conditions": [{"type": "Failed", "status": "True"}]}),
        (TRAINJOB, {"conditions": [{"type": "Complete", "status": "True"}]}),
        (RAYJOB, {"jobDeploymentStatus": "Failed"}),
    ],
)
def test_a_job_that_ended_is_left_to_its_time_to_live(
    kube: KubeServer, cluster: Cluster, resource: Resource, status: dict[str, Any]
) -> None:
    job(kube, "fr1-a", owner("gone"), resource=resource, status=status)
    assert actions(reap(cluster)) == {"fr1-a": "kept"}
    assert actions(release(cluster, "of-another-time")) == {"fr1-a": "kept"}


def test_what_is_not_ours_is_not_even_looked_at(kube: KubeServer, cluster: Cluster) -> None:
    job(kube, "theirs", owner("gone"), labels={MANAGED_BY: "another"})
    job(kube, "nobodys", owner("gone"), labels={})
    assert reap(cluster) == []
    assert kube.names(PYTORCHJOB) == ["nobodys", "theirs"]


def test_other_namespaces_are_left_alone(kube: KubeServer, cluster: Cluster) -> None:
    metadata = {"name": "fr1-sft-a", "labels": {MANAGED_BY: MANAGER}, "annotations": {SEEN: ago(60)}}
    kube.add(PYTORCHJOB, {"metadata": metadata}, namespace="others")
    assert reap(cluster) == []


def test_a_dry_run_changes_nothing_and_says_the_same(kube: KubeServer, cluster: Cluster) -> None:
    job(kube, "fr1-sft-a", owner("gone"))
    job(kube, "fr1-sft-b", owner("gone"), workflow(kube, "alive"))
    said = reap(cluster, dry_run=True)
    assert not [r for r in kube.requests if r.method != "GET"]
    assert reap(cluster) == said


def test_a_job_that_is_adopted_in_between_is_kept(kube: KubeServer, cluster: Cluster) -> None:
    job(kube, "fr1-sft-a", owner("gone"))
    listed = cluster.list

    def list_then_adopt(resource: Resource, **selectors: Any) -> Any:
        found = listed(resource, **selectors)
        if resource == PYTORCHJOB:
            kube.edit(PYTORCHJOB, "fr1-sft-a", {"metadata": {"annotations": {SEEN: ago(0)}}})
        return found

    cluster.list = list_then_adopt  # type: ignore[method-assign]
    assert actions(reap(cluster)) == {"fr1-sft-a": "kept"}
    assert kube.names(PYTORCHJOB) == ["fr1-sft-a"]


def test_kinds_that_are_not_installed_are_no_hindrance(kube: KubeServer, cluster: Cluster) -> None:
    kube.unserved |= {TRAINJOB, RAYJOB, WORKFLOW}
    job(kube, "fr1-sft-a", owner("gone"))
    assert actions(reap(cluster)) == {"fr1-sft-a": "deleted"}


def test_an_event_that_may_not_be_left_does_not_save_the_other_orphans(
    kube: KubeServer, cluster: Cluster
) -> None:
    kube.forbidden.add(("create", "events"))
    job(kube, "fr1-sft-a")
    job(kube, "fr1-sft-b")
    assert actions(reap(cluster)) == {"fr1-sft-a": "deleted", "fr1-sft-b": "deleted"}


def test_a_run_that_ends_takes_its_job_with_it(kube: KubeServer, cluster: Cluster) -> None:
    own = workflow(kube, "own")
    job(kube, "fr1-sft-a", own, seen=ago(0))
    job(kube, "fr1-sft-b", workflow(kube, "other"), seen=ago(0))
    assert actions(release(cluster, own["uid"])) == {"fr1-sft-a": "deleted"}
    assert kube.names(PYTORCHJOB) == ["fr1-sft-b"]


def test_of_two_runs_that_share_a_job_the_last_deletes_it(kube: KubeServer, cluster: Cluster) -> None:
    first, second = workflow(kube, "first"), workflow(kube, "second")
    job(kube, "fr1-sft-a", first, second)
    assert actions(release(cluster, first["uid"])) == {"fr1-sft-a": "disowned"}
    assert owners_of(kube, "fr1-sft-a") == ["second"]
    assert actions(release(cluster, second["uid"])) == {"fr1-sft-a": "deleted"}


def test_letting_go_looks_again_when_the_job_was_adopted_in_between(
    kube: KubeServer, cluster: Cluster
) -> None:
    own, adopter = workflow(kube, "own"), workflow(kube, "adopter")
    job(kube, "fr1-sft-a", own)
    deleted = cluster.delete

    def adopt_then_delete(resource: Resource, name: str, **conditions: Any) -> bool:
        kube.edit(PYTORCHJOB, "fr1-sft-a", {"metadata": {"ownerReferences": [own, adopter]}})
        return deleted(resource, name, **conditions)

    cluster.delete = adopt_then_delete  # type: ignore[method-assign]
    assert actions(release(cluster, own["uid"])) == {"fr1-sft-a": "disowned"}
    assert owners_of(kube, "fr1-sft-a") == ["adopter"]
