"""Stage 8 as a RayJob: where the GPUs are, and that verl's sizes are those of the Ray cluster."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from job_cases import FULL, PLAIN, made, placements, variables, with_cluster

from fundus_r1.errors import SpecError
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.placement import GrpoPlace, Placement, Trackers
from fundus_r1.spec.training import GrpoScience
from fundus_r1.training.grpo_config import GrpoPaths, verl_overrides

PATHS = GrpoPaths(
    *(Path("/shared", name) for name in ("start", "prompts", "rewards", "checkpoints", "rollouts"))
)


def rayjob(placement: Placement) -> dict[str, Any]:
    spec: dict[str, Any] = made("grpo", "pytorchjob", placement).manifest["spec"]
    return spec


def gpus(group: dict[str, Any]) -> str | None:
    [container] = group["template"]["spec"]["containers"]
    asked: str | None = container["resources"]["limits"].get("nvidia.com/gpu")
    return asked


def test_without_a_claim_the_head_has_the_gpus_and_there_is_no_worker() -> None:
    cluster = rayjob(PLAIN)["rayClusterSpec"]
    assert gpus(cluster["headGroupSpec"]) == cluster["headGroupSpec"]["rayStartParams"]["num-gpus"] == "8"
    assert "workerGroupSpecs" not in cluster


def test_without_a_claim_more_than_one_machine_is_refused() -> None:
    placement = PLAIN.model_copy(update={"grpo": GrpoPlace(nodes=2)})
    with pytest.raises(SpecError, match="2 machines are asked for") as caught:
        rayjob(placement)
    assert caught.value.where == "placement.grpo.nodes" and "shared_claim" in caught.value.hint


def test_with_a_claim_a_head_without_gpus_leads_one_group_of_machines_that_all_see_it() -> None:
    cluster = rayjob(FULL)["rayClusterSpec"]
    head, [workers] = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert gpus(head) is None and head["rayStartParams"]["num-gpus"] == "0"
    assert gpus(workers) == workers["rayStartParams"]["num-gpus"] == "8"
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 2
    for group in (head, workers):
        pod = group["template"]["spec"]
        assert {"name": "shared", "persistentVolumeClaim": {"claimName": "work"}} in pod["volumes"]
        assert {"name": "shared", "mountPath": "/shared"} in pod["containers"][0]["volumeMounts"]


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(placement=placements)
def test_verl_counts_the_machines_and_gpus_that_the_ray_cluster_has(placement: Placement) -> None:
    [workers] = rayjob(placement)["rayClusterSpec"]["workerGroupSpecs"]
    fitting = GrpoScience(batch_size=placement.grpo.world, mini_batch_size=placement.grpo.world)
    place = placement.grpo.model_copy(update={"micro_batch_size": 1})
    found = verl_overrides(fitting, place, PATHS, Trackers(), joins={})
    assert found["trainer.nnodes"] == workers["replicas"]
    assert str(found["trainer.n_gpus_per_node"]) == workers["rayStartParams"]["num-gpus"]


def test_on_a_cpu_ray_counts_logical_devices_and_no_pod_asks_for_a_gpu() -> None:
    placement = with_cluster(PLAIN, gpu_resource=None).model_copy(
        update={"grpo": GrpoPlace(device="cpu", processes=2)}
    )
    head = rayjob(placement)["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"] == {"dashboard-host": "0.0.0.0", "num-gpus": "2", "num-cpus": "9"}
    assert gpus(head) is None


def test_gpus_on_a_cluster_that_is_said_to_have_none_are_refused() -> None:
    with pytest.raises(SpecError, match="computes on GPUs") as caught:
        rayjob(with_cluster(PLAIN, gpu_resource=None))
    assert caught.value.where == "placement.cluster.gpu_resource"


def test_the_entrypoint_is_one_command() -> None:
    spec_uri = "s3://bucket/a b;c/job.json"
    spec = made("grpo", "pytorchjob", PLAIN, spec_uri=spec_uri).manifest["spec"]
    assert shlex.split(spec["entrypoint"]) == ["fundus-r1", "stage", "grpo", "--spec", spec_uri]


def test_the_submitter_is_small_and_gets_neither_credentials_nor_the_claim() -> None:
    pod = rayjob(FULL)["submitterPodTemplate"]
    assert not [name for name, value in variables(pod).items() if isinstance(value, dict)]
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["scratch", "shm"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"


def test_the_gpus_are_free_soon_after_the_end_and_strangers_cannot_submit() -> None:
    spec = rayjob(with_cluster(FULL, ttl_s=99_999, ray_ttl_s=7))
    assert spec["shutdownAfterJobFinishes"] is True and spec["ttlSecondsAfterFinished"] == 7
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_version_of_ray_is_the_one_in_the_image() -> None:
    lock = Path(__file__).parents[3] / "images" / "local" / "requirements.lock"
    found = re.search(r"^ray(?:\[[^]]*])?==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None and Cluster().ray_version == found.group(1)
