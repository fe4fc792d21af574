"""Before any GPU is asked for: weights in the store, data that can be read, and their digests known.

It needs no GPU and takes hours at most once, so it stands before all stages that need one. A run on one
machine, and one whose models and data lie in folders, has nothing to bring: who loads a model there keeps it.
"""

from __future__ import annotations

from fundus_r1.datasets.bucket import look_at
from fundus_r1.models.mirror import mirror_weights, mirrored
from fundus_r1.models.weights import model_cache, model_id
from fundus_r1.progress import emit
from fundus_r1.spec import RunSpec
from fundus_r1.spec.pins import hub_weights
from fundus_r1.stages.resolve import demand_weights, places_store, resolve
from fundus_r1.storage import open_store

NAME = "mirror"


def mirror(spec: RunSpec) -> RunSpec:
    """Brings the weights that a run on a cluster loads into its store, looks at its data, and resolves it.

    Weights of models that an endpoint serves stay where they are. A second call brings nothing.

    Args:
        spec: the run; its store is opened only if something is to be brought or lies in it.

    Returns:
        The spec with its open digests filled in.

    Raises:
        SpecError: the commit of a model that the run loads is not given.
        ModelError: the hub has no such model, refuses, or is away.
        DataError: data do not exist, cannot be read, or are others than are pinned.
        StoreError: the store refused.
    """
    demand_weights(spec)
    data_store = places_store(spec)
    for entry in spec.placement.data:
        emit(NAME, "note", text=f"data {entry}: {look_at(entry, data_store)}")
    if spec.placement.cluster is not None:
        bring_weights(spec)
    return resolve(spec)


def bring_weights(spec: RunSpec) -> list[str]:
    """Brings the published models that a run loads into its store; their names, new ones alone.

    Raises:
        ModelError: a commit is not given, or the hub has no such model, refuses, or is away.
        StoreError: the store refused.
    """
    models = {model_id(ref): ref for ref in hub_weights(spec.science, spec.placement).values()}
    if not models:
        return []
    store = open_store(spec.placement.store)
    brought = []
    for name, ref in models.items():
        if mirrored(ref, store):
            emit(NAME, "note", text=f"{name} is in the store")
            continue
        emit(NAME, "note", text=f"bringing {name} from the hub into the store")
        manifest = mirror_weights(ref, store, model_cache(spec.placement))
        emit(NAME, "note", text=f"{name}: {len(manifest.files)} files, {manifest.size / 2**30:.2f} GiB")
        brought.append(name)
    return brought
