"""The pods of all jobs: what they may do, what they ask for, where they run, what they see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from job_cases import (
    FULL,
    PLAIN,
    STORE,
    any_job,
    made,
    placements,
    pods_of,
    variables,
    with_cluster,
)

from fundus_r1.cluster.manifests import placement_in_pod
from fundus_r1.errors import SpecError
from fundus_r1.spec.cluster import ChildJob, Clocks, SecretKey
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.places import local_folder


@any_job
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(placement=placements)
def test_every_pod_may_run_in_a_restricted_namespace_and_writes_to_its_volumes_alone(
    stage: str, api: str, placement: Placement
) -> None:
    for pod in pods_of(stage, api, placement):
        spec = pod["spec"]
        [container] = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert {kind for volume in spec["volumes"] for kind in volume} <= {
            "name",
            "emptyDir",
            "persistentVolumeClaim",
        }
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in spec["volumes"]}
        env = variables(pod)
        assert {mounted["scratch"]} == {env["TMPDIR"], env["HOME"]} and mounted["shm"] == "/dev/shm"


@any_job
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(placement=placements)
def test_what_a_pod_asks_for_is_what_it_may_have_and_gpus_are_counted_once(
    stage: str, api: str, placement: Placement
) -> None:
    assert placement.cluster is not None
    place = placement.sft if stage == "sft" else placement.grpo
    counted = []
    for pod in pods_of(stage, api, placement):
        asked = pod["spec"]["containers"][0]["resources"]
        assert asked["requests"] == asked["limits"]
        if placement.cluster.gpu_resource in asked["limits"]:
            counted.append(asked["limits"][placement.cluster.gpu_resource])
            assert pod["spec"].get("nodeSelector", {}) == placement.cluster.node_selector
        else:
            assert not {"nodeSelector", "tolerations", "affinity"} & pod["spec"].keys()
    on_gpus = stage == "sft" or placement.grpo.device == "cuda"
    kinds = 2 if api == "pytorchjob" and stage == "sft" and place.nodes > 1 else 1
    assert counted == ([str(place.processes)] * kinds if on_gpus else [])


@any_job
@pytest.mark.parametrize("injection", [False, True])
def test_istio_stays_out_unless_it_is_wanted(stage: str, api: str, injection: bool) -> None:
    placement = with_cluster(PLAIN, istio_injection=injection)
    for pod in pods_of(stage, api, placement):
        for part in ("labels", "annotations"):
            assert pod["metadata"][part].get("sidecar.istio.io/inject") == (None if injection else "false")


@any_job
def test_pods_are_placed_scheduled_and_pulled_as_the_spec_says(stage: str, api: str) -> None:
    for pod in pods_of(stage, api, FULL):
        spec = pod["spec"]
        assert (spec["priorityClassName"], spec["schedulerName"]) == ("training", "gang")
        assert spec["serviceAccountName"] == "trainer"
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
    on_gpus = [pod["spec"] for pod in pods_of(stage, api, FULL) if "nodeSelector" in pod["spec"]]
    assert on_gpus
    for spec in on_gpus:
        assert spec["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
        assert FULL.cluster is not None and spec["affinity"] == FULL.cluster.affinity


@any_job
def test_credentials_are_references_to_secrets(stage: str, api: str) -> None:
    seen = 0
    for pod in pods_of(stage, api, FULL):
        env = variables(pod)
        if "FUNDUS_R1_S3_ACCESS_KEY" not in env:
            continue
        seen += 1
        assert env["FUNDUS_R1_S3_ACCESS_KEY"] == reference("fundus-r1-store", "accesskey")
        assert env["FUNDUS_R1_S3_SECRET_KEY"] == reference("fundus-r1-store", "secretkey")
        assert env["WRITER_KEY"] == reference("models", "WRITER_KEY")
        assert env["FUNDUS_R1_S3_ENDPOINT"] == STORE.endpoint
    assert seen


@any_job
@pytest.mark.parametrize("name", ["TMPDIR", "FUNDUS_R1_S3_SECRET_KEY", "PET_NNODES", "RAY_ADDRESS"])
def test_a_variable_that_we_or_the_operator_set_is_refused(stage: str, api: str, name: str) -> None:
    with pytest.raises(SpecError, match=f"The variable {name} is set") as caught:
        made(stage, api, with_cluster(PLAIN, **{stage: ChildJob(env={name: "x"})}))
    assert caught.value.where == f"placement.cluster.{stage}.env"


def test_a_secret_cannot_stand_in_for_the_stores_credentials() -> None:
    secrets = {"FUNDUS_R1_S3_ACCESS_KEY": SecretKey(secret="other", key="key")}
    with pytest.raises(SpecError, match="FUNDUS_R1_S3_ACCESS_KEY") as caught:
        made("sft", "pytorchjob", with_cluster(PLAIN, secrets=secrets))
    assert caught.value.where == "placement.cluster.secrets"


@any_job
def test_networks_and_devices_reach_the_pods_that_train(stage: str, api: str) -> None:
    job = ChildJob(
        env={"NCCL_IB_HCA": "mlx5", "NCCL_DEBUG": "INFO"},
        extra_resources={"rdma/hca": "1"},
        annotations={"k8s.v1.cni.cncf.io/networks": "rdma"},
    )
    training = [
        pod
        for pod in pods_of(stage, api, with_cluster(FULL, **{stage: job}))
        if "nodeSelector" in pod["spec"]
    ]
    assert training
    for pod in training:
        assert variables(pod)["NCCL_IB_HCA"] == "mlx5"
        assert pod["spec"]["containers"][0]["resources"]["limits"]["rdma/hca"] == "1"
        assert pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] == "rdma"


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_pod_that_trains_is_ended_by_the_runs_clock_counted_from_its_start(stage: str) -> None:
    placement = with_cluster(FULL, **{stage: ChildJob(clocks=Clocks(run_s=60.2))})
    told = [
        (pod["spec"].get("activeDeadlineSeconds"), "nodeSelector" in pod["spec"])
        for pod in pods_of(stage, "pytorchjob", placement)
    ]
    assert (61, True) in told and {deadline for deadline, on_gpus in told if not on_gpus} <= {None}


@any_job
def test_a_claim_that_holds_the_student_is_mounted_read_only_where_the_stage_looks_for_it(
    stage: str, api: str
) -> None:
    child = made(stage, api, PLAIN, reads=["pvc://weights/qwen/3b", "s3://bucket/x", "/a/folder"])
    text = json.dumps(child.manifest)
    volume = {"name": "read-0", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}
    mount = {"name": "read-0", "mountPath": "/pvc/weights", "readOnly": True}
    assert text.count(json.dumps(volume)) == text.count(json.dumps(mount)) == 1
    assert local_folder("pvc://weights/qwen/3b") == Path("/pvc/weights/qwen/3b")


def test_in_its_pod_a_stage_starts_no_further_job_and_grpo_works_in_the_shared_claim() -> None:
    assert placement_in_pod("sft", FULL).cluster is None and placement_in_pod("sft", FULL).cache is None
    assert placement_in_pod("grpo", FULL).cache == "/shared"
    assert placement_in_pod("grpo", PLAIN).cache is None
    moved = FULL.model_copy(update={"cache": "/big/disk"})
    assert placement_in_pod("sft", moved).cache is None


def reference(secret: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": secret, "key": key}}
