"""The placement that follows from a pipeline's parameters: the spec's, changed where they say so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.errors import SpecError
from fundus_r1.spec.cluster import Cluster, SecretKey, Toleration
from fundus_r1.spec.placement import (
    Endpoint,
    Endpoints,
    Engine,
    GrpoPlace,
    Placement,
    SftPlace,
    StorePlace,
    Workers,
)
from fundus_r1.spec.placing import (
    GPU_TYPE,
    JUDGE_KEY,
    MODELS_SECRET,
    WRITER_KEY,
    Parameters,
    claims,
    demand_compiled,
    parameters_of,
    placed,
    step_variables,
)

names = st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True)
urls = st.builds(lambda host, port: f"https://{host}:{port}/v1", names, st.integers(1, 65535))
folders = st.one_of(
    st.builds(lambda name: f"/data/{name}", names),
    st.builds(lambda bucket, name: f"s3://{bucket}/{name}", names, names),
    st.builds(lambda claim: f"pvc://{claim}/eyes", names),
)
endpoints = st.none() | st.builds(Endpoint, url=urls, api_key_env=st.none() | st.just("SOME_KEY"))
clusters = st.builds(
    Cluster,
    queue=st.none() | names,
    store_secret=names,
    node_selector=st.dictionaries(st.sampled_from([GPU_TYPE, "zone"]), names),
    tolerations=st.lists(st.builds(Toleration, key=names), max_size=2).map(tuple),
)
placements = st.builds(
    Placement,
    store=st.builds(StorePlace, endpoint=st.none() | urls, bucket=names, prefix=st.just("") | names),
    data=st.lists(folders, max_size=3).map(tuple),
    endpoints=st.builds(Endpoints, writer=endpoints, judge=endpoints, observer=endpoints),
    findings=st.builds(Workers, workers=st.integers(1, 64)),
    engine=st.builds(Engine, tensor_parallel=st.integers(1, 8)),
    sft=st.builds(SftPlace, nodes=st.integers(1, 4), processes=st.integers(1, 8)),
    grpo=st.builds(GrpoPlace, nodes=st.integers(1, 4), processes=st.integers(1, 8)),
    cluster=st.none() | clusters,
)


def without_keys(placement: Placement) -> Placement:
    if placement.cluster is None:
        return placement
    return placement.model_copy(update={"cluster": placement.cluster.model_copy(update={"secrets": {}})})


@settings(max_examples=40)
@given(placements)
def test_what_the_ui_proposes_is_the_placement_of_the_spec(own: Placement) -> None:
    assert without_keys(placed(own, parameters_of(own))) == own


@settings(max_examples=40)
@given(placements)
def test_empty_parameters_change_nothing(own: Placement) -> None:
    empty = Parameters(store_secret="", models_secret="")
    assert placed(own, empty) == own


@settings(max_examples=40)
@given(placements, placements)
def test_a_whole_placement_as_text_is_the_placement_of_the_run(own: Placement, wanted: Placement) -> None:
    found = placed(own, Parameters(placement=wanted.model_dump_json()))
    assert found.data == wanted.data and found.store == wanted.store
    assert found.endpoints == wanted.endpoints and found.engine == wanted.engine
    assert (found.sft, found.grpo, found.findings) == (wanted.sft, wanted.grpo, wanted.findings)
    assert (found.cluster is None) == (wanted.cluster is None)


@settings(max_examples=40)
@given(placements, placements)
def test_given_parameters_win_over_the_spec(own: Placement, wanted: Placement) -> None:
    if own.cluster is None:
        wanted = wanted.model_copy(update={"cluster": None})
    told = parameters_of(wanted)
    found = placed(own, told)
    assert found.findings.workers == wanted.findings.workers
    assert (found.sft.nodes, found.grpo.nodes) == (wanted.sft.nodes, wanted.grpo.nodes)
    assert found.store.endpoint == (wanted.store.endpoint or own.store.endpoint)
    assert found.data == (wanted.data or own.data)
    for role in ("writer", "judge"):
        end = getattr(wanted.endpoints, role) or getattr(own.endpoints, role)
        assert (end and end.url) == (getattr(found.endpoints, role) and getattr(found.endpoints, role).url)


@settings(max_examples=40)
@given(placements)
def test_parameters_that_are_placed_again_change_nothing_more(own: Placement) -> None:
    once = placed(own, parameters_of(own))
    assert placed(once, parameters_of(once)) == once


def test_fields_given_as_text_win_over_parameters() -> None:
    found = placed(Placement(), Parameters(workers=3, placement="{findings: {workers: 7}, cache: /scratch}"))
    assert (found.findings.workers, found.cache) == (7, "/scratch")
    assert found.findings.lease_s == Workers().lease_s


def test_an_address_of_a_writer_the_spec_does_not_name_gets_the_usual_key() -> None:
    found = placed(
        Placement(), Parameters(writer_url="https://w.example/v1", judge_url="https://j.example/v1")
    )
    assert found.endpoints.writer == Endpoint(url="https://w.example/v1", api_key_env=WRITER_KEY)
    assert found.endpoints.judge == Endpoint(url="https://j.example/v1", api_key_env=JUDGE_KEY)


def test_another_address_keeps_the_rest_of_an_endpoint() -> None:
    own = Placement(endpoints=Endpoints(writer=Endpoint(url="https://a.example/v1", concurrency=5)))
    found = placed(own, Parameters(writer_url="https://b.example/v1"))
    assert found.endpoints.writer == Endpoint(url="https://b.example/v1", concurrency=5)


def test_jobs_get_the_keys_of_endpoints_from_the_secret_that_is_named() -> None:
    named = {"OTHER": SecretKey(secret="mine", key="token")}
    ends = Endpoints(judge=Endpoint(url="https://j.example/v1", api_key_env="OTHER"))
    own = Placement(cluster=Cluster(secrets=named), endpoints=ends)
    found = placed(own, Parameters(writer_url="https://w.example/v1", models_secret="keys"))
    assert found.cluster is not None
    assert found.cluster.secrets == {**named, WRITER_KEY: SecretKey(secret="keys", key=WRITER_KEY)}


def test_gpus_a_machine_are_those_of_both_trainings() -> None:
    own = Placement(sft=SftPlace(processes=2), grpo=GrpoPlace(processes=1))
    assert parameters_of(own).gpus_per_node == 0
    found = placed(own, Parameters(gpus_per_node=4, sft_nodes=2))
    assert (found.sft.processes, found.sft.nodes) == (4, 2)
    assert (found.grpo.processes, found.grpo.nodes) == (4, 1)


def test_the_gpu_type_is_a_label_of_nodes_beside_others() -> None:
    own = Placement(cluster=Cluster(node_selector={"zone": "a"}))
    found = placed(own, Parameters(gpu_type="NVIDIA-H100-80GB-HBM3", queue="gpus"))
    assert found.cluster is not None and found.cluster.queue == "gpus"
    assert found.cluster.node_selector == {"zone": "a", GPU_TYPE: "NVIDIA-H100-80GB-HBM3"}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"placement": "[1, 2]"}, "must be a mapping"),
        ({"placement": "{a: "}, "neither YAML nor JSON"),
        ({"placement": "{enginee: {}}"}, "nearest known one is engine"),
        ({"placement": "{findings: {workers: 0}}"}, "findings.workers"),
        ({"queue": "gpus"}, "of use on a cluster alone"),
        ({"gpu_type": "H100"}, "of use on a cluster alone"),
        ({"writer_url": "https://me:secret@w.example/v1"}, "a name and a password"),
        ({"placement": json.dumps({"trackers": {"mlflow": "http://me:secret@m.example"}})}, "a password"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused_in_words(told: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        placed(Placement(), Parameters(**told))  # type: ignore[arg-type]
    assert "secret@" not in str(caught.value)


def test_there_are_at_most_fifteen_parameters_and_each_is_explained() -> None:
    assert len(Parameters.model_fields) <= 15
    assert all(field.description for field in Parameters.model_fields.values())


def test_claims_are_those_of_data_cache_and_shared_folder() -> None:
    place = Placement(
        data=("pvc://eyes/a", "pvc://eyes/b", "/data"),
        cache="pvc://fast/x",
        cluster=Cluster(shared_claim="many"),
    )
    assert claims(place) == ["eyes", "fast", "many"]


def test_steps_may_read_the_keys_that_no_other_secret_holds() -> None:
    ends = Endpoints(observer=Endpoint(url="https://o.example/v1", api_key_env="OBSERVER_KEY"))
    assert step_variables(Placement(endpoints=ends)) == [
        "HF_TOKEN",
        "JUDGE_KEY",
        "OBSERVER_KEY",
        "WRITER_KEY",
    ]
    own = Cluster(secrets={"WRITER_KEY": SecretKey(secret="mine", key="token")})
    assert "WRITER_KEY" not in step_variables(Placement(cluster=own))
    assert Parameters().models_secret == MODELS_SECRET


@pytest.mark.parametrize(
    ("own", "found", "lacking"),
    [
        (Placement(), Placement(data=("pvc://eyes/x",)), "pvc://eyes"),
        (Placement(), Placement(cluster=Cluster()), "cluster"),
        (Placement(cluster=Cluster()), Placement(cluster=Cluster(gpu_resource=None)), "gpu_resource"),
        (
            Placement(cluster=Cluster()),
            Placement(cluster=Cluster(image_pull_secrets=("registry",))),
            "cluster.image_pull_secrets",
        ),
        (Placement(cluster=Cluster()), Placement(cluster=Cluster(run_as_user=2000)), "cluster.run_as_user"),
        (
            Placement(),
            Placement(endpoints=Endpoints(writer=Endpoint(url="https://w.example", api_key_env="NEW"))),
            "NEW",
        ),
        (
            Placement(endpoints=Endpoints(observer=Endpoint(url="https://o.example"))),
            Placement(),
            "endpoints.observer",
        ),
    ],
)
def test_what_only_compiling_gives_to_pods_is_demanded(
    own: Placement, found: Placement, lacking: str
) -> None:
    with pytest.raises(SpecError, match="compiled without what this placement needs") as caught:
        demand_compiled(own, found)
    assert lacking in caught.value.what


@settings(max_examples=40)
@given(placements)
def test_a_pipeline_fits_the_placement_that_it_was_compiled_with(own: Placement) -> None:
    demand_compiled(own, placed(own, parameters_of(own)))
