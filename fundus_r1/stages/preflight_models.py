"""Whether the models of a run answer, or are where they will be loaded from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fundus_r1.cluster.check import Check, looked
from fundus_r1.fingerprint import SHORT
from fundus_r1.models.listing import served_models
from fundus_r1.models.mirror import mirrored
from fundus_r1.models.weights import model_id
from fundus_r1.spec import RunSpec
from fundus_r1.spec.models import FolderModel, ServedModel
from fundus_r1.spec.pins import hub_weights
from fundus_r1.spec.placement import Endpoint
from fundus_r1.spec.places import S3, local_folder, scheme_of
from fundus_r1.storage import open_bucket
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.trees import manifest_of

_NAMED = 5


def check_endpoints(spec: RunSpec) -> list[Check]:
    """Whether each endpoint that the run asks answers, and has its model."""
    checks = []
    for role, model, endpoint in _asked(spec):
        what, needed = f"endpoint of the {role}", f"answers, has {model}"
        if endpoint is None:
            todo = f"set placement.endpoints.{role}.url (and api_key_env)"
            checks.append(Check(what, needed, "none is given", False, todo))
        else:
            checks += looked(what, needed, partial(_endpoint, what, needed, model, endpoint))
            checks += _key_in_pods(spec, role, endpoint)
    return checks


def check_weights(spec: RunSpec, store: Store | None) -> list[Check]:
    """Whether the weights that the run loads itself are pinned, and where they will be loaded from."""
    checks = []
    for role, ref in hub_weights(spec.science, spec.placement).items():
        what, needed = f"weights of {ref.name}", "a commit, in the store"
        if not ref.is_pinned:
            todo = f"fundus-r1 pin looks up science.{role}.revision"
            checks.append(Check(what, needed, f"revision {ref.revision!r}, no commit", False, todo))
        elif store is None:
            checks.append(Check(what, needed, f"commit {ref.revision[:SHORT]}", None, "fetched from the hub"))
        elif mirrored(ref, store):
            checks.append(Check(what, needed, "in the store", True))
        else:
            todo = "the step mirror brings them, before any GPU is asked for; or now: fundus-r1 mirror"
            checks.append(Check(what, needed, "not in the store yet", None, todo))
    models = spec.science.models
    folders = (models.student, models.observer, models.free_form, spec.science.knowledge.embedder)
    for folder in dict.fromkeys(ref for ref in folders if isinstance(ref, FolderModel)):
        what = f"model {model_id(folder)}"
        checks += looked(what, "a model folder", partial(_folder, what, folder, store))
    return checks


def _asked(spec: RunSpec) -> Iterator[tuple[str, str, Endpoint | None]]:
    """(role, model id, endpoint) of the models that the run asks at an address."""
    science, ends = spec.science, spec.placement.endpoints
    models, recipe = science.models, science.recipe
    if models.writer.engine == "openai" and (science.index.datasets or science.knowledge.datasets):
        yield "writer", _id(models.writer.model, ends.writer), ends.writer
    if models.judge.engine == "openai" and recipe.grpo and recipe.process != "none":
        yield "judge", _id(models.judge.model, ends.judge), ends.judge
    free_form = science.traces.baseline or science.traces.mode == "free"
    for role, used in (("observer", True), ("free_form", free_form)):
        ref, endpoint = getattr(models, role), getattr(ends, role)
        if science.index.datasets and used and (endpoint is not None or isinstance(ref, ServedModel)):
            name = getattr(ref, "name", None) or model_id(ref)
            yield role, _id(name, endpoint), endpoint


def _id(model: str, endpoint: Endpoint | None) -> str:
    return endpoint.model if endpoint is not None and endpoint.model else model


def _endpoint(what: str, needed: str, model: str, endpoint: Endpoint) -> list[Check]:
    served = served_models(endpoint)
    if served is None:
        return [Check(what, needed, "answers, and does not list its models", None)]
    if model in served:
        return [Check(what, needed, "answers, has it", True)]
    names = ", ".join(served[:_NAMED]) or "none"
    todo = "correct the model in science.models, or say under which id it is served: placement.endpoints"
    return [Check(what, needed, f"answers, has {names}", False, todo)]


def _key_in_pods(spec: RunSpec, role: str, endpoint: Endpoint) -> list[Check]:
    """The judge is asked by GRPO's own pods, whose keys come from Secrets that the placement names."""
    place, name = spec.placement.cluster, endpoint.api_key_env
    if place is None or role != "judge" or name is None or name in place.secrets:
        return []
    todo = f"name the Secret that holds it: placement.cluster.secrets.{name}"
    return [Check(f"key of the {role} in the pods of grpo", name, "no Secret is named for it", False, todo)]


def _folder(what: str, ref: FolderModel, store: Store | None) -> list[Check]:
    needed = "a model folder"
    if scheme_of(ref.path) == S3:
        if manifest_of(open_bucket(ref.path, store), "") is not None:
            return [Check(what, needed, ref.path, True)]
        todo = f"fundus-r1 mirror --data FOLDER --to {ref.path}"
        return [Check(what, needed, "not whole: it has no manifest", False, todo)]
    folder = local_folder(ref.path)
    if folder is not None and (folder / "config.json").is_file():
        return [Check(what, needed, ref.path, True)]
    return [_not_here(what, needed, ref.path, folder)]


def _not_here(what: str, needed: str, place: str, folder: Path | None) -> Check:
    if scheme_of(place) == "pvc":
        return Check(what, needed, f"{place} is not mounted here", None, "see the row of its claim")
    found = "not there" if folder is None or not folder.exists() else "no config.json"
    return Check(what, needed, f"{place}: {found}", False, "correct its path")
