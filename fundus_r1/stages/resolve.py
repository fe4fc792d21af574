"""Fills in what a spec leaves to be looked up here, and holds its pins against what is here.

Filled in are digests of data and of model folders: only then are all fingerprints known. Pinned
prompts must be the installed ones, and pinned manifests what the data folders hold. Whoever submits
a run resolves it; the resolved spec is saved with the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fundus_r1.datasets.bucket import data_cache, data_contents, data_folder, in_bucket
from fundus_r1.datasets.digest import digest_of
from fundus_r1.errors import DataError, SpecError
from fundus_r1.fingerprint import SHORT
from fundus_r1.models.weights import place_digest
from fundus_r1.prompts import prompt_hash
from fundus_r1.spec import Placement, RunSpec, Spec
from fundus_r1.spec.base import UNPINNED
from fundus_r1.spec.models import FolderModel
from fundus_r1.spec.pins import Pin, unpinned_weights
from fundus_r1.spec.science import Index, ReviewedVocabulary
from fundus_r1.stages import STAGES, get_stage
from fundus_r1.stages.manifests import Manifests
from fundus_r1.storage import open_store
from fundus_r1.storage.output import file_sha256
from fundus_r1.storage.protocol import Store

R = TypeVar("R", bound=Spec | None)


def _resolve_model(ref: R, store: Store | None) -> R:
    if isinstance(ref, FolderModel) and ref.digest is None:
        return ref.model_copy(update={"digest": place_digest(ref, store)})
    return ref


def _resolve_vocabulary(reviewed: ReviewedVocabulary | None) -> ReviewedVocabulary | None:
    if reviewed is None or reviewed.digest is not None:
        return reviewed
    path = Path(reviewed.path)
    if not path.is_file():
        raise SpecError(
            "The reviewed vocabulary does not exist",
            where=str(path),
            hint="correct science.knowledge.vocabulary.path, or write one: fundus-r1 vocabulary export",
        )
    return reviewed.model_copy(update={"digest": file_sha256(path)})


def prompts_of_the_stages() -> dict[str, str]:
    """Name -> SHA-256 of the installed text, for all prompts on which an output depends."""
    names = {name for stage in STAGES for name in get_stage(stage).prompts}
    return {name: prompt_hash(name) for name in sorted(names)}


def _check_prompts(pinned: Mapping[str, str]) -> None:
    installed = prompts_of_the_stages()
    for name, digest in pinned.items():
        if name not in installed:
            raise SpecError(
                f"The spec pins a prompt {name!r} that no stage uses",
                where=f"science.prompts.{name}",
                hint=f"take it out; the prompts are {', '.join(installed)}",
            )
        if digest not in (UNPINNED, installed[name]):
            raise SpecError(
                f"The prompt {name} that is installed begins with the hash {installed[name][:SHORT]}, "
                f"the spec pins {digest[:SHORT]}",
                where=f"science.prompts.{name}",
                hint="install the version of the program that has the pinned text; or, to run with the "
                "installed one, which makes other outputs, pin that: fundus-r1 pin",
            )


def _pinned_manifests(index: Index) -> dict[str, str]:
    named = {name: index.manifests.get(name, UNPINNED) for name in (*index.datasets, *index.benchmarks)}
    return {name: manifest for name, manifest in named.items() if manifest != UNPINNED}


def _check_manifests(pins: Mapping[str, str], found: Manifests) -> None:
    for name, pinned in pins.items():
        manifest = found.of(name)
        if manifest is None:
            raise DataError(
                f"The spec pins the data of {name}, which is in none of the data folders",
                where=f"science.index.manifests.{name}",
                hint="name its folder (--data FOLDER), or take it out of science.index",
            )
        if manifest != pinned:
            raise DataError(
                f"The data folders hold another {name} than the spec pins: its manifest begins with "
                f"{manifest[:SHORT]}, not with {pinned[:SHORT]}",
                where=f"science.index.manifests.{name}",
                hint="unpack it again and leave out what is not its own; or, to run with other "
                "files, pin those: fundus-r1 pin --data FOLDER",
            )


def _resolve_index(index: Index, placement: Placement, store: Store | None) -> Index:
    # A digest that is filled in was held against the manifests then; reading all data again is costly.
    data, cache = placement.data, data_cache(placement)
    if not data or index.data_digest is not None:
        return index
    pins = _pinned_manifests(index)
    if not pins:
        digest = digest_of([data_contents(entry, cache, store) for entry in data])
        return index.model_copy(update={"data_digest": digest})
    found = Manifests([data_folder(entry, cache, store) for entry in data])
    _check_manifests(pins, found)
    return index.model_copy(update={"data_digest": found.data_digest()})


def places_store(spec: RunSpec) -> Store | None:
    """The run's store, opened only if data or a model of the run lie in a bucket of its endpoint."""
    models = (
        spec.science.models.student,
        spec.science.models.observer,
        spec.science.models.free_form,
        spec.science.knowledge.embedder,
    )
    places = [*spec.placement.data, *(ref.path for ref in models if isinstance(ref, FolderModel))]
    return open_store(spec.placement.store) if any(in_bucket(place) for place in places) else None


def refuse_unpinned(pins: Sequence[Pin], what: str, hint: str) -> None:
    """Refuses to go on where something is not pinned.

    Args:
        pins: what is not.
        what: what is refused, a sentence.
        hint: what to do beside pinning each.

    Raises:
        SpecError: there is any; each is named with what to do.
    """
    if pins:
        told = "".join(f"\n    {pin.path}: {pin.what}. {pin.hint}" for pin in pins)
        raise SpecError(what, where=f"{len(pins)} values are not pinned:{told}", hint=hint)


def demand_weights(spec: RunSpec) -> None:
    """Refuses, before anything is started, a run that would have to load a model that is not pinned.

    Raises:
        SpecError: the commit of such a model is not given.
    """
    refuse_unpinned(
        unpinned_weights(spec.science, spec.placement),
        "The run needs weights of which the commit is not given: they could change under it",
        "have the commits looked up (fundus-r1 pin), or name folders that hold the models (kind: folder)",
    )


def resolve(spec: RunSpec) -> RunSpec:
    """The spec with its open digests filled in.

    Raises:
        DataError: data do not exist, cannot be read, or are others than are pinned.
        ModelError: a model folder does not exist or is none.
        SpecError: the reviewed vocabulary does not exist, or a prompt is another than is pinned.
    """
    science = spec.science
    _check_prompts(science.prompts)
    store = places_store(spec)
    index = _resolve_index(science.index, spec.placement, store)
    models = science.models.model_copy(
        update={
            "student": _resolve_model(science.models.student, store),
            "observer": _resolve_model(science.models.observer, store),
            "free_form": _resolve_model(science.models.free_form, store),
        }
    )
    knowledge = science.knowledge.model_copy(
        update={
            "embedder": _resolve_model(science.knowledge.embedder, store),
            "vocabulary": _resolve_vocabulary(science.knowledge.vocabulary),
        }
    )
    parts = {"index": index, "models": models, "knowledge": knowledge}
    return spec.model_copy(update={"science": science.model_copy(update=parts)})
