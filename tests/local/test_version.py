"""What is compiled for a placement, and what the pipeline is given for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiled_once import compile_once
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.local.version import compile_version, parameters
from fundus_r1.spec import Placement, load_spec
from fundus_r1.spec.cluster import Cluster, Toleration
from fundus_r1.spec.placement import Endpoint, Endpoints, Engine, GrpoPlace, SftPlace, StorePlace, Workers
from fundus_r1.spec.placing import Parameters, parameters_of, placed
from fundus_r1.stages.beginning import place_run
from fundus_r1.stages.runs import PinnedRun

PAPER = Path(__file__).resolve().parents[2] / "pipelines/specs/paper/3b-setup-g.yaml"
FEW = st.integers(1, 3)
NAME = st.sampled_from(["alpha", "beta"])
MAYBE = st.none() | NAME

clusters = st.builds(
    Cluster,
    queue=MAYBE,
    namespace=MAYBE,
    image=MAYBE,
    store_secret=NAME,
    tolerations=st.sampled_from([(), (Toleration(key="gpu"),)]),
    labels=st.dictionaries(NAME, NAME, min_size=1, max_size=2),
)
endpoints = st.builds(Endpoint, url=st.sampled_from(["http://a/v1", "http://b/v1"]), concurrency=FEW)
placements = st.builds(
    Placement,
    store=st.builds(StorePlace, endpoint=st.sampled_from(["http://a", "http://b"]), bucket=NAME, prefix=NAME),
    data=st.lists(st.sampled_from(["/data", "s3://a/b", "pvc://c/d"]), max_size=2, unique=True).map(tuple),
    endpoints=st.builds(Endpoints, writer=endpoints, judge=endpoints),
    findings=st.builds(Workers, workers=FEW, lease_s=st.sampled_from([60.0, 120.0])),
    engine=st.builds(Engine, tensor_parallel=FEW),
    sft=st.builds(SftPlace, nodes=FEW, processes=FEW, pack_tokens=st.none() | FEW),
    grpo=st.builds(GrpoPlace, nodes=FEW, processes=FEW),
    cluster=clusters,
)  # fmt: skip


@given(own=placements, wanted=placements)
def test_the_parameters_of_a_placement_make_it_again(own: Placement, wanted: Placement) -> None:
    wanted_labels = {**own.cluster.labels, **wanted.cluster.labels} if own.cluster and wanted.cluster else {}
    assert wanted.cluster is not None
    cluster = wanted.cluster.model_copy(update={"labels": wanted_labels})
    wanted = wanted.model_copy(update={"cluster": cluster})
    found = placed(own, Parameters.model_validate(parameters(own, wanted)))
    assert found == placed(wanted, parameters_of(wanted))


@given(placements)
def test_a_placement_that_is_the_specs_own_says_nothing_beside_what_people_see(own: Placement) -> None:
    plain = own.model_copy(update={"endpoints": Endpoints()})
    assert parameters(plain, plain)["placement"] == ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("fundus_r1.local.version.compile_pipeline", compile_once)
    return tmp_path


def other(*overrides: str) -> Placement:
    return load_spec(PAPER, [f"placement.{text}" for text in overrides]).placement


def test_what_pods_are_not_compiled_with_makes_no_other_version(folder: Path) -> None:
    spec = load_spec(PAPER)
    wanted = other(
        "store={endpoint: http://a, bucket: b}",
        "data=[s3://a/b]",
        "findings.workers=9",
        "engine.tensor_parallel=4",
        "cluster.node_selector={nvidia.com/gpu.product: A100}",
        "cluster.tolerations=[{key: gpu}]",
        "cluster.sft.clocks.run_s=60",
        "endpoints.writer={url: http://w/v1, api_key_env: WRITER_KEY}",
    )
    assert compile_version(spec, wanted, folder).spec == spec


@pytest.mark.parametrize(
    "text",
    [
        "cluster.image_pull_secrets=[registry]",
        "endpoints.observer={url: http://o/v1}",
        "endpoints.writer={url: http://w/v1, api_key_env: OTHER_KEY}",
        "data=[pvc://eyes/fundus]",
        "cluster=null",
    ],
)
def test_what_pods_are_compiled_with_makes_another_version(folder: Path, text: str) -> None:
    """So that no pod lacks what its placement names, and none asks for GPUs that it does not need."""
    spec = load_spec(PAPER)
    wanted = other(text, "findings.workers=9")
    found = compile_version(spec, wanted, folder)
    assert found.spec.placement.cluster == wanted.cluster and found.spec.science == spec.science
    assert found.spec.placement.endpoints == wanted.endpoints
    assert found.spec.placement.findings == spec.placement.findings, "that is a parameter all the same"
    assert found.digest != compile_version(spec, spec.placement, folder).digest
    run = PinnedRun(spec=found.spec)
    assert place_run(run, parameters(found.spec.placement, wanted)).placement.findings.workers == 9
