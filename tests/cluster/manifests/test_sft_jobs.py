"""Stage 7 as a PyTorchJob and as a TrainJob: the same pods, the same group, the same command."""

from __future__ import annotations

from typing import Any

import pytest
from job_cases import FULL, IMAGE, JOBS, PLAIN, made, pods_of, with_cluster

from fundus_r1.cluster.manifests import training_runtime
from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import Placement, SftPlace
from fundus_r1.training.process_group import size

APIS = [api for stage, api in JOBS if stage == "sft"]


def spec_of(api: Any, placement: Placement) -> dict[str, Any]:
    spec: dict[str, Any] = made("sft", api, placement).manifest["spec"]
    return spec


def sft(placement: Placement, **changes: Any) -> Placement:
    return placement.model_copy(update={"sft": SftPlace(**changes)})


@pytest.mark.parametrize(("nodes", "groups"), [(1, {"Master": 1}), (4, {"Master": 1, "Worker": 3})])
def test_a_pytorchjob_has_a_master_and_a_worker_for_each_further_machine(
    nodes: int, groups: dict[str, int]
) -> None:
    spec = spec_of("pytorchjob", sft(PLAIN, nodes=nodes, processes=4))
    assert {name: group["replicas"] for name, group in spec["pytorchReplicaSpecs"].items()} == groups
    assert spec["nprocPerNode"] == "4"


def test_a_trainjob_says_machines_and_processes_and_takes_the_runtime_of_its_namespace() -> None:
    spec = spec_of("trainjob", sft(PLAIN, nodes=4, processes=4))
    assert (spec["trainer"]["numNodes"], spec["trainer"]["numProcPerNode"]) == (4, 4)
    assert spec["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "TrainingRuntime",
        "name": "fundus-r1-torch",
    }
    other = spec_of("trainjob", with_cluster(PLAIN, runtime="ours"))
    assert other["runtimeRef"]["name"] == "ours"


@pytest.mark.parametrize("api", APIS)
def test_the_stage_finds_the_group_that_the_job_makes(api: str) -> None:
    """What the operators put into the environment from these two numbers is what the stage counts."""
    placement = sft(PLAIN, nodes=3, processes=4)
    environment = {"PET_NNODES": "3", "PET_NPROC_PER_NODE": "4"}
    assert size(placement.sft, environment) == 12
    for pod in pods_of("sft", api, placement):
        [container] = pod["spec"]["containers"]
        assert container["command"] == ["fundus-r1", "stage", "sft", "--spec", "s3://fundus-r1/jobs/fr1.json"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"


@pytest.mark.parametrize("placement", [PLAIN, FULL])
def test_both_apis_make_the_same_pods(placement: Placement) -> None:
    """But for the container's name, and for what a TrainJob cannot say: the clock of its pods."""
    old, *_ = pods_of("sft", "pytorchjob", placement)
    [new] = pods_of("sft", "trainjob", placement)
    del old["spec"]["activeDeadlineSeconds"]
    assert new["spec"].pop("restartPolicy") == "Never"
    assert old["spec"]["containers"][0].pop("name") == "pytorch"
    assert new["spec"]["containers"][0].pop("name") == "node"
    assert old == new


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("launcher", ["ray", "process"])
def test_a_launcher_of_one_machine_cannot_have_more(api: str, launcher: str) -> None:
    with pytest.raises(SpecError, match=f"{launcher} starts processes on one machine only") as caught:
        spec_of(api, sft(PLAIN, nodes=2, launcher=launcher))
    assert caught.value.where == "placement.sft.nodes"


def test_one_process_asks_for_one_gpu() -> None:
    spec = spec_of("trainjob", sft(PLAIN, launcher="process", processes=8))
    assert spec["trainer"]["numProcPerNode"] == 1
    assert spec["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("api", APIS)
def test_on_a_cluster_without_gpus_no_pod_asks_for_any(api: str) -> None:
    for pod in pods_of("sft", api, with_cluster(FULL, gpu_resource=None)):
        assert "gpu" not in str(pod["spec"]["containers"][0]["resources"])
        assert not {"nodeSelector", "tolerations", "affinity"} & pod["spec"].keys()


@pytest.mark.parametrize(("retries", "restart"), [(0, "Never"), (3, "OnFailure")])
def test_operators_try_again_only_if_the_spec_says_so(retries: int, restart: str) -> None:
    placement = with_cluster(PLAIN, retries=retries)
    spec = spec_of("pytorchjob", placement)
    assert spec["runPolicy"]["backoffLimit"] == retries
    assert spec["pytorchReplicaSpecs"]["Master"]["restartPolicy"] == restart
    assert placement.cluster is not None
    runtime = training_runtime(placement.cluster, IMAGE)["spec"]["template"]["spec"]
    assert runtime["failurePolicy"] == {"maxRestarts": retries}


def test_pods_that_have_ended_stay_until_the_job_goes() -> None:
    policy = spec_of("pytorchjob", with_cluster(PLAIN, ttl_s=99))["runPolicy"]
    assert (policy["cleanPodPolicy"], policy["ttlSecondsAfterFinished"]) == ("Running", 99)
