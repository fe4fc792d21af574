"""Writes all that a run would apply to a cluster, one YAML a file, without a cluster, a store or data.

What the spec does not say yet is written as a placeholder and told, so that a platform engineer can read the
manifests of a pinned run before anything is set up. The launcher makes the same ones, with two
differences: the owner is the run's Workflow, and `trainer_api: auto` takes what the cluster has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from fundus_r1.cluster.manifests import CHILD_STAGES, Manifest, child_of, training_runtime
from fundus_r1.errors import MachineError, SpecError
from fundus_r1.local.pipelines import compile_pipeline, held_by
from fundus_r1.record import output_prefix
from fundus_r1.spec import RunSpec
from fundus_r1.spec.base import UNPINNED
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.models import FolderModel
from fundus_r1.spec.pins import by_digest
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.places import local_folder
from fundus_r1.spec.placing import parameters_of, placed
from fundus_r1.stages.children import job_key
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.resolve import resolve

PIPELINE = "pipeline.yaml"
STORE_TO_BE_NAMED = "http://store.example.invalid:9000"
"""Stands for the store's address where the spec has none; nothing answers there."""
_IMAGE = "train"


@dataclass(frozen=True)
class Written:
    """What was written, and what of it is not final."""

    files: dict[str, str]
    """Name of the file -> what it is."""
    open: tuple[str, ...]
    """What has still to be named, and where."""


def write_manifests(spec: RunSpec, folder: Path) -> Written:
    """Writes the compiled pipeline of a run, and the jobs that its steps would make.

    Args:
        spec: the run; without a section ``placement.cluster`` the defaults of that section hold.
        folder: where to write; files of the same names are replaced.

    Raises:
        SpecError: the placement cannot be had on a cluster, or the folder holds YAML of something else.
        MachineError: the folder cannot be written.
    """
    spec = _known(spec)
    cluster = spec.placement.cluster or Cluster()
    spec = spec.model_copy(update={"placement": spec.placement.model_copy(update={"cluster": cluster})})
    with tempfile.TemporaryDirectory(prefix="fr1-plan-") as scratch:
        package = Path(scratch, PIPELINE)
        compile_pipeline(spec, package)
        pipeline, image = package.read_bytes(), cluster.image or held_by(package).images[_IMAGE]
    objects = applied(spec, image)
    _refuse_others(folder, {PIPELINE, *objects})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PIPELINE).write_bytes(pipeline)
        for name, manifest in objects.items():
            (folder / name).write_text(_as_yaml(manifest), encoding="utf-8")
    except OSError as error:
        raise MachineError(
            f"The manifests cannot be written: {error.strerror}",
            where=str(folder),
            hint="choose another folder",
        ) from error
    told = {name: f"{tree['kind']} {tree['metadata']['name']}" for name, tree in objects.items()}
    return Written({PIPELINE: "the pipeline for Kubeflow", **told}, tuple(_open(spec, image)))


def _known(spec: RunSpec) -> RunSpec:
    """The spec with the digests of what lies on this machine; data that pods alone can reach stay unknown."""
    here = [folder is not None and folder.is_dir() for folder in map(local_folder, spec.placement.data)]
    return resolve(spec) if all(here) else spec


def applied(spec: RunSpec, image: str) -> dict[str, Manifest]:
    """Name of the file -> object, of all that a run makes on its cluster.

    Args:
        spec: the run, with its cluster.
        image: of the pods.

    Raises:
        SpecError: the placement cannot be had on a cluster.
    """
    placement = _placed(spec.placement)
    cluster, store = placement.cluster or Cluster(), placement.store
    api: Literal["pytorchjob", "trainjob"] = (
        "pytorchjob" if placement.trainer_api == "auto" else placement.trainer_api
    )
    root = "/".join(part for part in (f"s3://{store.bucket}", store.prefix.strip("/")) if part)
    recipe, known = spec.science.recipe, fingerprints(spec.science)
    student = spec.science.models.student
    found: dict[str, Manifest] = {}
    for stage in CHILD_STAGES:
        if not getattr(recipe, stage):
            continue
        child = child_of(
            stage,
            known[stage],
            placement,
            api=api,
            run=spec.name,
            spec_uri=f"{root}/{job_key(stage, known[stage])}",
            output_uri=f"{root}/{output_prefix(stage, known[stage])}",
            image=image,
            reads=[student.path] if isinstance(student, FolderModel) else [],
        )
        found[f"{stage}-{child.resource.kind.lower()}.yaml"] = child.manifest
    if api == "trainjob" and recipe.sft and cluster.runtime is None:
        found["sft-trainingruntime.yaml"] = training_runtime(cluster, image)
    return found


def _placed(placement: Placement) -> Placement:
    """The placement as the pipeline's steps would have it, were it started as it stands."""
    if placement.store.endpoint is None:
        store = placement.store.model_copy(update={"endpoint": STORE_TO_BE_NAMED})
        placement = placement.model_copy(update={"store": store})
    return placed(placement, parameters_of(placement))


def _refuse_others(folder: Path, ours: set[str]) -> None:
    others = sorted(path.name for path in folder.glob("*.yaml") if path.name not in ours)
    if others:
        raise SpecError(
            f"The folder holds YAML that is not of this run: {', '.join(others[:5])}",
            where=str(folder),
            hint="give another folder, or empty it",
        )


def _open(spec: RunSpec, image: str) -> Iterator[str]:
    """What is not final in what was written."""
    if spec.placement.store.endpoint is None:
        yield f"placement.store.endpoint: {STORE_TO_BE_NAMED} stands for it; the parameter store_endpoint"
    for role in ("writer", "judge"):
        asked = getattr(spec.science.models, role).engine == "openai"
        if asked and getattr(spec.placement.endpoints, role) is None:
            yield f"placement.endpoints.{role}: who answers as {role}; the parameter {role}_url"
    index = spec.science.index
    if index.synthetic is None and index.data_digest is None:
        yield (
            "placement.data: the data are not here, so names and fingerprints of the jobs are not final; "
            "the parameter data"
        )
    if not by_digest(image):
        yield f"the image {image} is {UNPINNED}: images/images.lock, or placement.cluster.image"


def _as_yaml(manifest: Manifest) -> str:
    class Plain(yaml.SafeDumper):
        """Without references between parts that are the same."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(manifest, Dumper=Plain, sort_keys=False, allow_unicode=True)
