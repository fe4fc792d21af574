from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kube_server import KUEUE, KubeServer

from fundus_r1.cluster.check import Check
from fundus_r1.cluster.child import (
    PODS,
    PYTORCHJOB,
    RAYJOB,
    TRAINING_RUNTIME,
    TRAINJOB,
    WORKFLOW,
    WORKLOAD,
    Resource,
)  # fmt: skip
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.preflight import check_cluster
from fundus_r1.cluster.preflight_nodes import NODES
from fundus_r1.cluster.preflight_objects import ACCOUNTS, CLAIMS, PRIORITIES, SECRETS
from fundus_r1.cluster.preflight_quota import LIMITS, QUOTAS
from fundus_r1.spec import RunSpec, load_spec

SPEC = Path(__file__).parents[2] / "pipelines" / "specs" / "paper" / "3b-setup-g.yaml"
LOCAL_QUEUE, CLUSTER_QUEUE = KUEUE[:2]
OBSERVER = {"observer": {"url": "http://observer/v1"}}


def run(place: dict[str, Any] | None = None, **placement: Any) -> RunSpec:
    """Setup G: SFT and GRPO on eight GPUs each, and an evaluation on one."""
    spec = load_spec(SPEC)
    tree = spec.placement.model_dump(mode="json")
    tree |= {"cluster": place or {}, "endpoints": OBSERVER, **placement}
    return RunSpec(name=spec.name, science=spec.science, placement=tree)


def node(kube: KubeServer, name: str, gpus: int = 8, **more: Any) -> None:
    allocatable = {"cpu": "96", "memory": "1Ti", "ephemeral-storage": "2Ti", "nvidia.com/gpu": str(gpus)}
    kube.add(
        NODES,
        {
            "metadata": {"name": name, "labels": more.get("labels", {})},
            "spec": {"taints": more.get("taints", []), "unschedulable": more.get("closed", False)},
            "status": {
                "allocatable": allocatable | more.get("allocatable", {}),
                "conditions": [{"type": "Ready", "status": more.get("ready", "True")}],
            },
        },
        namespace="",
    )


def taken(kube: KubeServer, node_name: str, gpus: int, phase: str = "Running") -> None:
    """A pod of another namespace."""
    container = {"name": "x", "resources": {"requests": {"nvidia.com/gpu": str(gpus)}}}
    spec = {"nodeName": node_name, "containers": [container]}
    kube.add(PODS, {"metadata": {}, "spec": spec, "status": {"phase": phase}}, namespace="others")


def secret(kube: KubeServer, name: str, *keys: str) -> None:
    kube.add(SECRETS, {"metadata": {"name": name}, "data": dict.fromkeys(keys, "dG9wLXNlY3JldA==")})


def quota(kube: KubeServer, hard: dict[str, str], used: dict[str, str], **spec: Any) -> None:
    status = {"hard": hard, "used": used}
    kube.add(QUOTAS, {"metadata": {"name": "team"}, "spec": {"hard": hard, **spec}, "status": status})


@pytest.fixture
def equipped(kube: KubeServer) -> KubeServer:
    """Has all that the run needs."""
    node(kube, "gpu-a")
    secret(kube, "fundus-r1-store", "accesskey", "secretkey")
    return kube


def found(checks: list[Check], what: str) -> Check:
    rows = [check for check in checks if check.what == what]
    assert len(rows) == 1, [check.what for check in checks]
    return rows[0]


def lacking(checks: list[Check]) -> list[str]:
    return [check.what for check in checks if check.ok is False]


def test_a_cluster_that_has_everything_lacks_nothing(equipped: KubeServer, cluster: Cluster) -> None:
    checks = check_cluster(cluster, run())
    assert lacking(checks) == []
    assert all(check.todo == "" for check in checks if check.ok)
    assert found(checks, "API server").found == "v1.36.1, namespace team"


def test_nothing_is_changed_by_looking(equipped: KubeServer, cluster: Cluster) -> None:
    check_cluster(cluster, run({"queue": "gpus"}))
    changing = [r for r in equipped.requests if r.method != "GET" and "selfsubjectaccess" not in r.path]
    assert changing == []


def test_a_bare_api_server_is_told_of_in_rows(kube: KubeServer, cluster: Cluster) -> None:
    kube.unserved |= {PYTORCHJOB, TRAINJOB, TRAINING_RUNTIME, RAYJOB, WORKFLOW, WORKLOAD, *KUEUE}
    checks = check_cluster(cluster, run({"queue": "gpus"}))
    assert lacking(checks) == [
        "sft: kind PyTorchJob or TrainJob",
        "grpo: kind RayJob",
        "secret fundus-r1-store",
        "queue gpus",
    ]
    assert found(checks, "kind Workflow").ok is None
    places = [check for check in checks if "places for pods" in check.what]
    assert {check.found for check in places} == {"no node that is ready"}
    assert all(check.todo for check in checks if check.ok is False)


def test_without_a_queue_missing_nodes_are_missing(kube: KubeServer, cluster: Cluster) -> None:
    checks = check_cluster(cluster, run())
    assert "sft: places for pods" in lacking(checks)


def test_a_server_that_does_not_answer_is_one_row(
    equipped: KubeServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fundus_r1.cluster.preflight._PATIENCE_S", 0.1)
    equipped.fail("GET", "/version", 503, times=99)
    assert lacking(check_cluster(cluster, run())) == ["API server", "all else of the cluster"]


@pytest.mark.parametrize(
    ("api", "unserved", "missing"),
    [
        ("auto", {PYTORCHJOB}, []),
        ("auto", {TRAINJOB}, []),
        ("pytorchjob", {PYTORCHJOB}, ["sft: kind PyTorchJob"]),
        ("trainjob", {TRAINJOB}, ["sft: kind TrainJob"]),
    ],
)
def test_the_trainer_that_the_placement_asks_for_must_be_served(
    equipped: KubeServer, cluster: Cluster, api: str, unserved: set[Resource], missing: list[str]
) -> None:
    equipped.unserved |= unserved
    equipped.add(TRAINING_RUNTIME, {"metadata": {"name": "fundus-r1-torch"}})
    assert lacking(check_cluster(cluster, run(trainer_api=api))) == missing


def test_a_trainjob_needs_its_runtime(equipped: KubeServer, cluster: Cluster) -> None:
    checks = check_cluster(cluster, run(trainer_api="trainjob"))
    assert lacking(checks) == ["runtime fundus-r1-torch"]
    assert "plan --manifests" in found(checks, "runtime fundus-r1-torch").todo


@pytest.mark.parametrize(
    ("verb", "plural", "row"),
    [
        ("get", "pods/log", "rights on pods/log"),
        ("watch", "pods", "rights on pods"),
        ("delete", "pytorchjobs", "rights on pytorchjobs"),
        ("create", "rayjobs", "rights on rayjobs"),
        ("create", "events", "rights on events"),
        ("get", "workflows", "rights on workflows"),
    ],
)
def test_a_right_that_is_missing_is_named_with_the_rule_that_gives_it(
    equipped: KubeServer, cluster: Cluster, verb: str, plural: str, row: str
) -> None:
    equipped.forbidden.add((verb, plural))
    checks = check_cluster(cluster, run())
    assert lacking(checks) == [row]
    check = found(checks, row)
    assert check.found == f"not {verb}"
    rule = check.todo[check.todo.index("verbs: ") + len("verbs: ") : -1]
    assert verb in json.loads(rule)


def test_rights_that_are_only_of_use_are_no_failure(equipped: KubeServer, cluster: Cluster) -> None:
    equipped.unserved.add(WORKFLOW)
    equipped.forbidden |= {("get", "workflows"), ("list", "workloads")}
    checks = check_cluster(cluster, run({"queue": "gpus"}))
    assert lacking(checks) == ["queue gpus"]
    assert found(checks, "rights on workloads").ok is None


def test_no_value_of_a_secret_is_told(equipped: KubeServer, cluster: Cluster) -> None:
    assert "dG9wLXNlY3JldA" not in str(check_cluster(cluster, run()))


def test_a_secret_without_an_entry_is_named_with_it(equipped: KubeServer, cluster: Cluster) -> None:
    secret(equipped, "keys", "other")
    checks = check_cluster(cluster, run({"secrets": {"JUDGE_KEY": {"secret": "keys", "key": "judge"}}}))
    assert lacking(checks) == ["secret keys"]
    assert found(checks, "secret keys").found == "lacks judge"


def test_a_secret_that_may_not_be_looked_at_is_no_failure(equipped: KubeServer, cluster: Cluster) -> None:
    equipped.forbidden.add(("get", "secrets"))
    assert found(check_cluster(cluster, run()), "secret fundus-r1-store").ok is None
    assert not equipped.asked("GET", "/secrets/")


@pytest.mark.parametrize(
    ("modes", "phase", "ok"),
    [
        (["ReadWriteMany"], "Bound", True),
        (["ReadWriteOnce"], "Bound", False),
        (["ReadWriteMany"], "Pending", None),
        (["ReadWriteMany"], "Lost", False),
        (None, "", False),
    ],
)
def test_the_shared_claim_must_be_for_many_nodes(
    equipped: KubeServer, cluster: Cluster, modes: list[str] | None, phase: str, ok: bool | None
) -> None:
    if modes:
        claim = {"metadata": {"name": "shared"}, "spec": {"accessModes": modes}, "status": {"phase": phase}}
        equipped.add(CLAIMS, claim)
    assert found(check_cluster(cluster, run({"shared_claim": "shared"})), "claim shared").ok is ok


def test_a_claim_with_data_must_be_there(equipped: KubeServer, cluster: Cluster) -> None:
    assert lacking(check_cluster(cluster, run(data=["pvc://eyes/raw"]))) == ["claim eyes"]


def test_what_pods_refer_to_must_be_there(equipped: KubeServer, cluster: Cluster) -> None:
    place = {"service_account": "trainer", "priority_class": "high"}
    assert lacking(check_cluster(cluster, run(place))) == ["service account trainer", "priority class high"]
    equipped.add(ACCOUNTS, {"metadata": {"name": "trainer"}})
    equipped.add(PRIORITIES, {"metadata": {"name": "high"}}, namespace="")
    assert lacking(check_cluster(cluster, run(place))) == []


def test_a_queue_must_be_there_and_let_jobs_in(equipped: KubeServer, cluster: Cluster) -> None:
    place = {"queue": "gpus"}
    equipped.add(LOCAL_QUEUE, {"metadata": {"name": "other"}})
    assert found(check_cluster(cluster, run(place)), "queue gpus").todo == "the namespace has: other"
    condition = {"type": "Active", "status": "True"}
    status = {"conditions": [condition]}
    equipped.add(
        LOCAL_QUEUE, {"metadata": {"name": "gpus"}, "spec": {"clusterQueue": "all"}, "status": status}
    )
    assert lacking(check_cluster(cluster, run(place))) == ["cluster queue all"]
    inactive = {"conditions": [condition | {"status": "False", "message": "flavor h100 not found"}]}
    equipped.add(CLUSTER_QUEUE, {"metadata": {"name": "all"}, "status": inactive}, namespace="")
    assert "flavor h100 not found" in found(check_cluster(cluster, run(place)), "cluster queue all").found


def test_a_quota_that_could_never_hold_a_stage_is_missing(equipped: KubeServer, cluster: Cluster) -> None:
    quota(equipped, {"requests.nvidia.com/gpu": "4"}, {})
    checks = check_cluster(cluster, run())
    assert lacking(checks) == ["sft: quota team", "grpo: quota team"]
    row = found(checks, "sft: quota team")
    assert (row.needed, row.found) == ("8 requests.nvidia.com/gpu", "4 in all, 0 used")


def test_a_quota_that_others_use_is_only_a_warning(equipped: KubeServer, cluster: Cluster) -> None:
    quota(equipped, {"requests.nvidia.com/gpu": "8"}, {"requests.nvidia.com/gpu": "2"})
    checks = check_cluster(cluster, run())
    assert lacking(checks) == []
    assert found(checks, "sft: quota team").ok is None
    assert found(checks, "evaluate: quota team").ok is True


def test_workers_of_a_step_may_come_one_after_another(equipped: KubeServer, cluster: Cluster) -> None:
    quota(equipped, {"requests.nvidia.com/gpu": "8"}, {})
    spec = run(endpoints={}, findings={"workers": 9})
    checks = check_cluster(cluster, spec)
    assert lacking(checks) == []
    assert found(checks, "findings: places for pods").ok is None
    assert found(checks, "findings: quota team").ok is None


def test_a_quota_for_some_pods_only_is_no_failure(equipped: KubeServer, cluster: Cluster) -> None:
    quota(equipped, {"requests.nvidia.com/gpu": "1"}, {}, scopes=["BestEffort"])
    assert lacking(check_cluster(cluster, run())) == []


def test_pods_larger_than_the_namespace_lets_them_be_are_told(equipped: KubeServer, cluster: Cluster) -> None:
    limits = [{"type": "Container", "max": {"memory": "16Gi"}, "min": {"cpu": "100m"}}]
    equipped.add(LIMITS, {"metadata": {"name": "small"}, "spec": {"limits": limits}})
    checks = check_cluster(cluster, run())
    assert "sft: limit small" in lacking(checks)
    assert found(checks, "sft: limit small").found == "max 16Gi for a container"


def test_free_places_are_counted_by_node_and_not_by_their_sum(equipped: KubeServer, cluster: Cluster) -> None:
    node(equipped, "gpu-b")
    taken(equipped, "gpu-a", 4)
    taken(equipped, "gpu-b", 4)
    taken(equipped, "gpu-b", 4, phase="Succeeded")
    row = found(check_cluster(cluster, run()), "sft: places for pods")
    assert (row.ok, row.found) == (None, "0 free on 0 nodes, 2 in all")
    assert row.needed.startswith("1 x 8 nvidia.com/gpu, ")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"gpus": 4}, "at most 4 nvidia.com/gpu on a node"),
        ({"allocatable": {"cpu": "2"}}, "at most 2 cpu on a node"),
        ({"closed": True}, "no node that is ready"),
        ({"ready": "False"}, "no node that is ready"),
        ({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}, "none of 1 nodes has these labels and taints"),
    ],
)
def test_a_node_that_no_pod_fits_on_is_none(
    kube: KubeServer, cluster: Cluster, more: dict[str, Any], said: str
) -> None:
    node(kube, "gpu-a", **more)
    row = found(check_cluster(cluster, run()), "sft: places for pods")
    assert (row.ok, row.found) == (False, said)


@pytest.mark.parametrize(
    ("place", "ok"),
    [
        ({"node_selector": {"gpu": "h100"}, "tolerations": [{"key": "gpu"}]}, True),
        ({"node_selector": {"gpu": "h100"}, "tolerations": [{}]}, True),
        ({"tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes"}]}, True),
        ({"tolerations": [{"key": "gpu", "operator": "Equal", "value": "no"}]}, False),
        ({"tolerations": [{"key": "gpu", "effect": "NoExecute"}]}, False),
        ({"node_selector": {"gpu": "a100"}, "tolerations": [{"key": "gpu"}]}, False),
    ],
)
def test_labels_and_taints_decide_where_a_pod_may_go(
    kube: KubeServer, cluster: Cluster, place: dict[str, Any], ok: bool
) -> None:
    taints = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    node(kube, "gpu-a", labels={"gpu": "h100"}, taints=taints)
    assert found(check_cluster(cluster, run(place)), "sft: places for pods").ok is ok


def test_nodes_that_may_not_be_looked_at_are_no_failure(equipped: KubeServer, cluster: Cluster) -> None:
    equipped.forbidden.add(("list", "nodes"))
    checks = check_cluster(cluster, run())
    assert lacking(checks) == []
    assert found(checks, "sft: places for pods").ok is None


@pytest.mark.parametrize(
    ("right", "row"),
    [
        (("list", "resourcequotas"), "quotas"),
        (("list", "limitranges"), "limits"),
        (("get", "persistentvolumeclaims"), "claims"),
        (("get", "serviceaccounts"), "service account"),
        (("list", "priorityclasses"), "priority class"),
        (("get", "localqueues"), "queue gpus"),
    ],
)
def test_what_may_not_be_looked_at_is_a_warning(
    equipped: KubeServer, cluster: Cluster, right: tuple[str, str], row: str
) -> None:
    equipped.forbidden.add(right)
    place = {"shared_claim": "x", "service_account": "x", "priority_class": "x", "queue": "gpus"}
    check = found(check_cluster(cluster, run(place)), row)
    assert (check.ok, check.found) == (None, "these credentials may not look at it")


def test_a_look_that_fails_is_a_row_and_the_next_is_done(equipped: KubeServer, cluster: Cluster) -> None:
    equipped.fail("GET", "/resourcequotas", 400)
    checks = check_cluster(cluster, run())
    assert lacking(checks) == ["quotas"]
    assert "resourcequotas" in found(checks, "quotas").found
    assert found(checks, "sft: places for pods").ok is True


def test_a_placement_that_no_job_can_be_made_of_is_a_row(equipped: KubeServer, cluster: Cluster) -> None:
    checks = check_cluster(cluster, run(grpo={"nodes": 2}))
    assert lacking(checks) == ["grpo: its job"]
    assert "shared_claim" in found(checks, "grpo: its job").todo
