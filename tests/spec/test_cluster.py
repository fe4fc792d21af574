"""What Kubernetes would refuse, a spec refuses first, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.errors import SpecError
from fundus_r1.spec import load_spec
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.kubernetes import amount


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("namespace: Team_A", "not a namespace"),
        ("labels: {team: " + "x" * 64 + "}", "not a label's value"),
        ("labels: {team: -a}", "not a label's value"),
        ("labels: {a/b/c: x}", "not a domain"),
        ("labels: {Example.org/a: x}", "not a domain"),
        ("annotations: {'a b': x}", "not at most 63 letters"),
        ("store_secret: My_Secret", "not a name of an object"),
        ("secrets: {1KEY: {secret: a, key: b}}", "not a variable's name"),
        ("secrets: {KEY: {secret: a, key: 'b c'}}", "not an entry of a Secret"),
        ("sft: {resources: {memory: 64 GB}}", "not a quantity"),
        ("sft: {resources: {cpu: '0'}}", "more than 0"),
        ("sft: {resources: {memory: 1Gi, shared_memory: 2Gi}}", "counts as memory, of which there is 1Gi"),
        ("sft: {extra_resources: {rdma/hca: one}}", "not a quantity"),
        ("sft: {env: {A-B: x}}", "not a variable's name"),
        ("tolerations: [{operator: Equal, value: x}]", "needs the key of a taint"),
        ("tolerations: [{key: a, value: x}]", "compares no value"),
        ("tolerations: [{key: a, effect: NoSchedule, seconds: 5}]", "NoExecute alone"),
        ("run_as_user: 0", "greater than or equal to 1"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_in_words(tmp_path: Path, fields: str, told: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"placement: {{cluster: {{{fields}}}}}", encoding="utf-8")
    with pytest.raises(SpecError, match=told) as caught:
        load_spec(spec)
    assert f"placement.cluster.{fields.partition(':')[0]}" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {"app.kubernetes.io/part-of": "", "a": "A.b-c_9"}},
        {"sft": {"extra_resources": {"hugepages-2Mi": "1Gi", "rdma/hca": "1"}}},
        {"sft": {"resources": {"cpu": "1.5", "memory": "1e12", "shared_memory": "100M"}}},
        {"tolerations": [{}, {"key": "a", "operator": "Equal", "value": "b"}]},
        {"priority_class": "system.high", "namespace": "a-1"},
    ],
)
def test_what_kubernetes_takes_is_taken(fields: dict[str, Any]) -> None:
    assert Cluster.model_validate(fields)


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("500m", 0.5),
        ("2", 2),
        ("1Ki", 1024),
        ("1.5Gi", 1.5 * 2**30),
        ("1e3", 1000),
        ("2E", 2e18),
        ("3k", 3000),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(quantity: str, number: float) -> None:
    assert amount(quantity) == number


@given(st.text(max_size=8))
def test_any_text_is_a_quantity_or_is_refused(text: str) -> None:
    try:
        assert amount(text) >= 0
    except ValueError as error:
        assert "is not a quantity" in str(error)


def test_two_clusters_share_no_mapping() -> None:
    first, second = Cluster(), Cluster()
    assert first.labels == second.labels == {} and first.labels is not second.labels
