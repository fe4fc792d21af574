"""Placements and the jobs that are made of them, for the tests of manifests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from crd_schema import pod_templates
from hypothesis import strategies as st

from fundus_r1.cluster.child import Child
from fundus_r1.cluster.manifests import child_of, training_runtime
from fundus_r1.spec.cluster import ChildJob, Clocks, Cluster, PodResources, SecretKey, Toleration
from fundus_r1.spec.placement import GrpoPlace, Placement, SftPlace, StorePlace

FINGERPRINT = "0123456789ab" + "cd" * 26
IMAGE = "registry.example.org/train@sha256:" + "0" * 64
OWNER = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "name": "fundus-r1-x7k2p",
    "uid": "5e2f0f43-0000-4000-8000-000000000001",
    "controller": False,
    "blockOwnerDeletion": False,
}
STORE = StorePlace(endpoint="http://store.example.org:9000")
PLAIN = Placement(store=STORE, cluster=Cluster())
"""All defaults: one machine of eight GPUs for each stage."""
FULL = Placement(
    store=STORE,
    sft=SftPlace(nodes=2),
    grpo=GrpoPlace(nodes=2),
    cluster=Cluster(
        namespace="team-a",
        image_pull_secrets=("registry",),
        service_account="trainer",
        secrets={"WRITER_KEY": SecretKey(secret="models", key="WRITER_KEY")},
        node_selector={"nvidia.com/gpu.product": "H100"},
        tolerations=(Toleration(key="nvidia.com/gpu", effect="NoSchedule"),),
        affinity={
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                    ]
                }
            }
        },
        queue="gpus",
        queue_priority="research",
        priority_class="training",
        scheduler="gang",
        shared_claim="work",
        labels={"team": "a"},
        annotations={"example.org/cost-centre": "eyes"},
        sft=ChildJob(
            env={"NCCL_IB_HCA": "mlx5"},
            extra_resources={"rdma/hca": "1"},
            annotations={"k8s.v1.cni.cncf.io/networks": "rdma-net"},
        ),
        grpo=ChildJob(clocks=Clocks(queue_s=3600, run_s=7200.5)),
    ),
)
"""Two machines each, and everything that can be said."""
JOBS = [("sft", "pytorchjob"), ("sft", "trainjob"), ("grpo", "pytorchjob")]
"""The three kinds of job: PyTorchJob, TrainJob, RayJob."""
any_job = pytest.mark.parametrize(("stage", "api"), JOBS)


def made(stage: str, api: Any, placement: Placement, **changes: Any) -> Child:
    """A job of a stage."""
    given = {
        "run": "run-1",
        "spec_uri": "s3://fundus-r1/jobs/fr1.json",
        "output_uri": f"s3://fundus-r1/{stage}/{FINGERPRINT}",
        "image": IMAGE,
        "owners": [OWNER],
    }
    return child_of(stage, FINGERPRINT, placement, api=api, **{**given, **changes})


def with_cluster(placement: Placement, **changes: Any) -> Placement:
    """A placement with another cluster."""
    assert placement.cluster is not None
    return placement.model_copy(update={"cluster": placement.cluster.model_copy(update=changes)})


def pods_of(stage: str, api: str, placement: Placement) -> Iterator[dict[str, Any]]:
    """The templates of all pods that a job will have."""
    manifest = made(stage, api, placement).manifest
    yield from [pod_of_trainjob(manifest, placement)] if api == "trainjob" else pod_templates(manifest)


def pod_of_trainjob(manifest: dict[str, Any], placement: Placement) -> dict[str, Any]:
    """The pod of a TrainJob as Kubeflow puts it together: the runtime's, patched, with the job's trainer."""
    assert placement.cluster is not None
    runtime = training_runtime(placement.cluster, IMAGE)
    [job] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = copy.deepcopy(job["template"]["spec"]["template"])
    [patch] = manifest["spec"]["runtimePatches"]
    [patched] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert patched["name"] == job["name"]
    found = patched["template"]["spec"]["template"]
    given, asked = manifest["spec"]["trainer"], {**found["spec"]}
    [container] = asked.pop("containers")
    assert container["name"] == pod["spec"]["containers"][0]["name"]
    pod["spec"] |= asked
    pod["spec"]["containers"][0] |= container | {
        "image": given["image"],
        "command": given["command"],
        "env": given["env"],
        "resources": given["resourcesPerNode"],
    }
    return {"metadata": found["metadata"], "spec": pod["spec"]}


def variables(pod: dict[str, Any]) -> dict[str, Any]:
    """The environment of a pod's only container: values, or where they come from."""
    [container] = pod["spec"]["containers"]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def as_yaml(manifest: dict[str, Any]) -> bytes:
    """A golden file of a manifest, without references between parts that are the same."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(manifest, Dumper=Plain, sort_keys=False).encode()


_names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
_label_values = st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?)?", fullmatch=True)
_keys = st.builds("{}{}".format, st.sampled_from(["", "example.org/"]), _names)
_quantities = st.builds("{}{}".format, st.integers(1, 4096), st.sampled_from(["", "m", "Mi", "Gi", "Ti"]))
_gib = st.integers(1, 500)
_labels = st.dictionaries(_keys, _label_values, max_size=3)
_annotations = st.dictionaries(_keys, st.text(max_size=20), max_size=3)
_resources = st.builds(
    lambda cpu, shared, more, scratch: PodResources(
        cpu=f"{cpu}m", memory=f"{shared + more}Gi", shared_memory=f"{shared}Gi", scratch=f"{scratch}Gi"
    ),
    st.integers(1, 64_000),
    _gib,
    _gib,
    _gib,
)
_seconds = st.none() | st.floats(min_value=0.001, max_value=1e7)
_variables = st.from_regex(r"NCCL_[A-Z0-9_]{1,20}", fullmatch=True)
_jobs = st.builds(
    ChildJob,
    resources=_resources,
    head=_resources,
    submitter=_resources,
    clocks=st.builds(Clocks, queue_s=_seconds, run_s=_seconds),
    env=st.dictionaries(_variables, st.text(max_size=20), max_size=3),
    extra_resources=st.dictionaries(
        _keys.map("rdma/{}".format).filter(lambda key: key.count("/") == 1), _quantities, max_size=2
    ),
    annotations=_annotations,
)
_tolerations = st.builds(
    Toleration, key=_keys, effect=st.sampled_from(["NoSchedule", "PreferNoSchedule"])
) | st.builds(
    Toleration,
    key=_keys,
    operator=st.just("Equal"),
    value=_label_values,
    effect=st.just("NoExecute"),
    seconds=st.none() | st.integers(0, 600),
)
_clusters = st.builds(
    Cluster,
    namespace=st.none() | _names,
    image_pull_secrets=st.lists(_names, max_size=2).map(tuple),
    service_account=st.none() | _names,
    secrets=st.dictionaries(
        st.sampled_from(["WRITER_KEY", "HF_TOKEN"]), st.builds(SecretKey, secret=_names, key=_names)
    ),
    gpu_resource=st.sampled_from(["nvidia.com/gpu", "nvidia.com/mig-3g.40gb", "amd.com/gpu"]),
    node_selector=_labels,
    tolerations=st.lists(_tolerations, max_size=3).map(tuple),
    queue=st.none() | _names,
    queue_priority=st.none() | _names,
    priority_class=st.none() | _names,
    scheduler=st.none() | _names,
    run_as_user=st.integers(1, 65535),
    run_as_group=st.integers(1, 65535),
    istio_injection=st.booleans(),
    runtime=st.none() | _names,
    shared_claim=_names,
    ttl_s=st.integers(0, 10**6),
    retries=st.integers(0, 5),
    labels=_labels,
    annotations=_annotations,
    sft=_jobs,
    grpo=_jobs,
)
placements = st.builds(
    Placement,
    store=st.just(STORE),
    cluster=_clusters,
    sft=st.builds(SftPlace, nodes=st.integers(1, 9), processes=st.integers(1, 16)),
    grpo=st.builds(
        GrpoPlace,
        device=st.sampled_from(["cuda", "cpu"]),
        nodes=st.integers(1, 9),
        processes=st.integers(1, 16),
    ),
)
"""Any placement on a cluster with GPUs and a claim that all machines see."""
