"""Any placement makes manifests that the operators' APIs take whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubeflow_trainer_api.models as trainer
import pytest
from crd_schema import Crds
from hypothesis import HealthCheck, given, settings
from job_cases import (
    FULL,
    IMAGE,
    PLAIN,
    any_job,
    as_yaml,
    made,
    placements,
)

from fundus_r1.cluster.manifests import named, training_runtime
from fundus_r1.spec.placement import Placement

GOLDEN = Path(__file__).parents[2] / "golden" / "manifests"


@pytest.mark.shared
@any_job
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(placement=placements)
def test_any_placement_makes_what_the_api_takes_whole(
    crds: Crds, stage: str, api: str, placement: Placement
) -> None:
    child = made(stage, api, placement)
    crds.check(child.manifest)
    crds.check(named(child, 12))


@pytest.mark.shared
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(placement=placements)
def test_any_cluster_makes_a_training_runtime_that_the_api_takes_whole(
    crds: Crds, placement: Placement
) -> None:
    assert placement.cluster is not None
    runtime = training_runtime(placement.cluster, IMAGE)
    crds.check(runtime)
    assert trainer.TrainerV1alpha1TrainingRuntime.from_dict(runtime) is not None


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(placement=placements)
def test_kubeflows_own_models_read_a_trainjob_and_lose_nothing(placement: Placement) -> None:
    manifest = made("sft", "trainjob", placement).manifest
    read = trainer.TrainerV1alpha1TrainJob.from_dict(manifest)
    assert read is not None and read.spec.trainer.num_nodes == placement.sft.nodes
    assert json.loads(read.to_json()) == manifest


@pytest.mark.shared
@pytest.mark.parametrize(
    "broken",
    [
        {"spec": {"entrypoints": "typo"}},
        {"spec": {"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {}}}}},
        {"spec": {"backoffLimit": "0"}},
        {"metadata": {"labels": {"a": 1}}},
    ],
    ids=["unknown field", "missing field", "wrong type", "label that is no text"],
)
def test_a_manifest_that_the_api_would_not_take_whole_is_found(crds: Crds, broken: dict[str, Any]) -> None:
    manifest = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "a"}, "spec": {}, **broken}
    with pytest.raises(Exception, match=r"typo|entrypoints|template|'0'|type"):
        crds.check(manifest)


@pytest.mark.shared
def test_a_variable_that_stands_twice_is_found(crds: Crds) -> None:
    manifest = made("sft", "trainjob", PLAIN).manifest
    manifest["spec"]["trainer"]["env"] *= 2
    with pytest.raises(jsonschema.ValidationError, match="stands twice"):
        crds.check(manifest)


@any_job
def test_no_null_stands_in_a_manifest(stage: str, api: str) -> None:
    for placement in (PLAIN, FULL):
        assert "null" not in json.dumps(made(stage, api, placement).manifest)


@any_job
def test_golden_manifests_are_these(stage: str, api: str, golden_bytes: Any) -> None:
    child = made(stage, api, FULL)
    kind = child.resource.kind.lower()
    golden_bytes(GOLDEN / f"{kind}.yaml", as_yaml(child.manifest))


def test_golden_training_runtime_is_this(golden_bytes: Any) -> None:
    assert FULL.cluster is not None
    golden_bytes(GOLDEN / "trainingruntime.yaml", as_yaml(training_runtime(FULL.cluster, IMAGE)))


def test_golden_rayjob_of_one_machine_is_this(golden_bytes: Any) -> None:
    golden_bytes(GOLDEN / "rayjob_one_machine.yaml", as_yaml(made("grpo", "pytorchjob", PLAIN).manifest))
