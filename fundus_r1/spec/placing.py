"""The parameters of a pipeline, and the placement that follows from them.

A compiled pipeline holds a spec with its placement. Whoever starts it, in Kubeflow's UI or from the command
line, changes where and how big it is by these parameters alone, and so no result:

    placement of the spec  <  the parameters that are given  <  the fields in the parameter `placement`

Pods get their volumes, variables and GPUs when a pipeline is compiled (`compiled_in`), so a placement that
needs others needs the pipeline compiled again. The text under a parameter is what the UI shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import Field, ValidationError

from fundus_r1.errors import SpecError
from fundus_r1.spec import explain, joined
from fundus_r1.spec.base import Spec
from fundus_r1.spec.cluster import Cluster, SecretKey
from fundus_r1.spec.placement import Endpoint, Endpoints, Placement
from fundus_r1.spec.places import claim_of

GPU_TYPE = "nvidia.com/gpu.product"
"""Label of a node that says which GPUs it has, as NVIDIA's GPU feature discovery sets it."""
WRITER_KEY = "WRITER_KEY"
"""Variable, and entry of `models_secret`, with the writer's key where the placement names no other."""
JUDGE_KEY = "JUDGE_KEY"
"""The same for the judge."""
HUB_TOKEN = "HF_TOKEN"
"""Variable, and entry of `models_secret`, with the token for the hub of models."""
MODELS_SECRET = "fundus-r1-models"
"""`models_secret` unless another is named."""
_WHERE = "the pipeline's parameters"
_OF_PODS = ("image_pull_secrets", "run_as_user", "run_as_group", "istio_injection")
_OF_DISKS = ("scratch", "shared_memory")
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")


class Parameters(Spec):
    """The parameters of a pipeline; an empty text and 0 stand for what the spec says."""

    store_endpoint: str = ""
    """Address of the object store that keeps all outputs, http(s)://host:port."""
    bucket: str = ""
    """The bucket in it."""
    prefix: str = ""
    """Put before every key in the bucket, so that several projects can share it."""
    store_secret: str = Cluster.model_fields["store_secret"].default
    """Name of the Secret with the store's credentials, entries accesskey and secretkey."""
    data: str = ""
    """Where the datasets and benchmarks lie in their official layouts: folders, s3://bucket/prefix or
    pvc://claim/path, separated by commas."""
    writer_url: str = ""
    """Address of the OpenAI-compatible API of the writer, ending in /v1."""
    judge_url: str = ""
    """Address of the OpenAI-compatible API of the judge, ending in /v1."""
    models_secret: str = MODELS_SECRET
    """Name of the Secret with the keys of these APIs, entries WRITER_KEY and JUDGE_KEY unless the placement
    names others (api_key_env); an entry HF_TOKEN is used to download weights."""
    queue: str = ""
    """Kueue's LocalQueue in which the training jobs wait for GPUs."""
    gpu_type: str = ""
    """Nodes with these GPUs alone are used: the value of their label nvidia.com/gpu.product."""
    sft_nodes: int = Field(default=0, ge=0)
    """Machines on which SFT runs."""
    grpo_nodes: int = Field(default=0, ge=0)
    """Machines on which GRPO runs."""
    gpus_per_node: int = Field(default=0, ge=0)
    """GPUs of each of these machines; with 0, SFT and GRPO keep the numbers that the spec gives each."""
    workers: int = Field(default=0, ge=0)
    """Pods that share the search for findings (stage 3)."""
    placement: str = ""
    """Any other fields of the placement, as YAML or JSON, for example {engine: {tensor_parallel: 4}}. They
    win over the parameters above."""


def parameters_of(placement: Placement) -> Parameters:
    """The parameters as a spec's own placement gives them: what the UI proposes."""
    store, cluster, ends = placement.store, placement.cluster, placement.endpoints
    equal = placement.sft.processes == placement.grpo.processes
    told = {
        "store_endpoint": store.endpoint,
        "bucket": store.bucket,
        "prefix": store.prefix,
        "store_secret": cluster.store_secret if cluster else None,
        "data": ", ".join(placement.data),
        "writer_url": ends.writer.url if ends.writer else None,
        "judge_url": ends.judge.url if ends.judge else None,
        "queue": cluster.queue if cluster else None,
        "gpu_type": cluster.node_selector.get(GPU_TYPE) if cluster else None,
        "sft_nodes": placement.sft.nodes,
        "grpo_nodes": placement.grpo.nodes,
        "gpus_per_node": placement.sft.processes if equal else None,
        "workers": placement.findings.workers,
    }
    return Parameters.model_validate({name: value for name, value in told.items() if value is not None})


def placed(own: Placement, given: Parameters) -> Placement:
    """The placement of a run.

    Args:
        own: the placement of the spec.
        given: the parameters of the run.

    Raises:
        SpecError: a parameter cannot be used, holds a password, or needs a cluster that the spec has not.
    """
    if own.cluster is None and (given.queue or given.gpu_type):
        raise SpecError(
            f"The parameter {'queue' if given.queue else 'gpu_type'} is of use on a cluster alone, and this "
            "run has every stage run where its step runs",
            where="placement.cluster",
            hint="compile the pipeline of a spec with placement.cluster, or leave the parameter empty",
        )
    tree = own.model_dump(mode="json")
    for path, value in _told(own, given):
        if value:
            _set(tree, path, value)
    try:
        found = Placement.model_validate(joined(tree, _further(given.placement)))
    except ValidationError as error:
        raise explain(error, Placement, _WHERE) from error
    _refuse_passwords(found.model_dump(mode="json"))
    return _with_keys(found, given.models_secret)


def _told(own: Placement, given: Parameters) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each field of the placement with what the parameters say of it."""
    yield ("store", "endpoint"), given.store_endpoint
    yield ("store", "kind"), "s3" if given.store_endpoint else ""
    yield ("store", "bucket"), given.bucket
    yield ("store", "prefix"), given.prefix
    yield ("data",), [entry.strip() for entry in given.data.split(",") if entry.strip()]
    for role, url, key in (("writer", given.writer_url, WRITER_KEY), ("judge", given.judge_url, JUDGE_KEY)):
        known = getattr(own.endpoints, role) or Endpoint(url=url, api_key_env=key)
        yield ("endpoints", role), url and {**known.model_dump(mode="json"), "url": url}
    for stage, nodes in (("sft", given.sft_nodes), ("grpo", given.grpo_nodes)):
        yield (stage, "nodes"), nodes
        yield (stage, "processes"), given.gpus_per_node
    yield ("findings", "workers"), given.workers
    if own.cluster:
        yield ("cluster", "store_secret"), given.store_secret
        yield ("cluster", "queue"), given.queue
        yield ("cluster", "node_selector", GPU_TYPE), given.gpu_type


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for step in parents:
        tree = tree[step]
    tree[last] = value


def _further(text: str) -> dict[str, Any]:
    """The fields in the parameter `placement`."""
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SpecError(f"The parameter placement is neither YAML nor JSON: {error}", where=_WHERE) from error
    if not isinstance(tree, dict):
        raise SpecError(
            "The parameter placement must be a mapping",
            where=_WHERE,
            hint="write fields as they stand below placement: in a spec, {engine: {tensor_parallel: 4}}",
        )
    return tree


def _refuse_passwords(tree: Any, path: str = "placement") -> None:
    if isinstance(tree, dict):
        for name, value in tree.items():
            _refuse_passwords(value, f"{path}.{name}")
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            _refuse_passwords(value, f"{path}.{number}")
    elif isinstance(tree, str) and _PASSWORD.search(tree):
        raise SpecError(
            "An address holds a name and a password, which would stand in records and in the UI",
            where=path,
            hint="put them into a Secret and name that (store_secret, models_secret, cluster.secrets)",
        )


def key_variables(endpoints: Endpoints) -> list[str]:
    """Names of the variables that hold the keys of a placement's endpoints."""
    ends = (getattr(endpoints, role) for role in Endpoints.model_fields)
    return sorted({end.api_key_env for end in ends if end is not None and end.api_key_env})


def _with_keys(placement: Placement, secret: str) -> Placement:
    """The placement whose jobs get the keys of its endpoints from `secret`, unless it says from where."""
    cluster = placement.cluster
    if cluster is None or not secret:
        return placement
    keys = {name: SecretKey(secret=secret, key=name) for name in key_variables(placement.endpoints)}
    secrets = {"secrets": {**keys, **cluster.secrets}}
    return placement.model_copy(update={"cluster": cluster.model_copy(update=secrets)})


def step_variables(placement: Placement) -> list[str]:
    """Names of the variables with keys that steps may read, each an entry of `models_secret`."""
    ncbi = placement.retrieval.ncbi_key_env
    named = {
        *key_variables(placement.endpoints),
        *((ncbi,) if ncbi else ()),
        WRITER_KEY,
        JUDGE_KEY,
        HUB_TOKEN,
    }
    return sorted(named - set(placement.cluster.secrets if placement.cluster else ()))


def claims(placement: Placement) -> list[str]:
    """The PersistentVolumeClaims that hold data or weights of a run."""
    places = [*placement.data, *((placement.cache,) if placement.cache else ())]
    found = {claim for claim in map(claim_of, places) if claim is not None}
    if placement.cluster and placement.cluster.shared_claim:
        found.add(placement.cluster.shared_claim)
    return sorted(found)


def compiled_in(placement: Placement) -> dict[str, Any]:
    """The part of a placement that a compiled pipeline gives its pods, whatever its parameters say."""
    cluster = placement.cluster
    return {
        "cluster": cluster is not None,
        "cluster.gpu_resource": cluster.gpu_resource if cluster else None,
        **{f"cluster.{name}": getattr(cluster, name, None) for name in _OF_PODS},
        **{f"cluster.findings.{name}": cluster and getattr(cluster.findings, name) for name in _OF_DISKS},
        "cluster.secrets": dict(cluster.secrets) if cluster else {},
        "endpoints.observer": placement.endpoints.observer is not None,
        "endpoints.free_form": placement.endpoints.free_form is not None,
        "api_key_env": step_variables(placement),
        "pvc://": claims(placement),
    }


def demand_compiled(own: Placement, found: Placement) -> None:
    """Refuses a placement whose pods would lack something that only compiling again gives them.

    Args:
        own: the placement of the spec that was compiled.
        found: the placement of the run.

    Raises:
        SpecError: there is such a thing; it is named.
    """
    before, after = compiled_in(own), compiled_in(found)
    fixed = ["cluster.gpu_resource", *(f"cluster.{name}" for name in _OF_PODS)]
    fixed += [f"cluster.findings.{name}" for name in _OF_DISKS]
    if before["cluster"] != after["cluster"]:
        fixed = ["cluster"]
    lacking = [name for name in fixed if before[name] != after[name]]
    # A model that was to answer at an address would have to be loaded by pods without a GPU.
    lacking += [name for name in ("endpoints.observer", "endpoints.free_form") if before[name] > after[name]]
    readable = {*before["api_key_env"], *before["cluster.secrets"]}
    lacking += [name for name in key_variables(found.endpoints) if name not in readable]
    lacking += [f"pvc://{claim}" for claim in after["pvc://"] if claim not in before["pvc://"]]
    if lacking:
        raise SpecError(
            f"The pipeline was compiled without what this placement needs: {', '.join(lacking)}",
            where="placement",
            hint="compile it again from a spec that says so; fundus-r1 submit --placement FILE does",
        )
