"""What is compiled for a run, and the parameters by which it gets its placement.

A compiled pipeline holds the science and the spec's own placement; where a run is and how big are its
parameters. Hence the same science on another cluster, or with other machines, is a run of the same
version. Only what pods are compiled with (images, sizes, secrets, volumes, labels) makes another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fundus_r1.cluster.child import label_value
from fundus_r1.errors import SpecError
from fundus_r1.fingerprint import SHORT
from fundus_r1.local.pipelines import compile_pipeline
from fundus_r1.spec import Placement, RunSpec
from fundus_r1.spec.placing import Parameters, demand_compiled, parameters_of, placed
from fundus_r1.storage.output import file_sha256

OF_PODS = ("cluster", "endpoints", "data", "cache", "retrieval")
"""Fields of the placement from which the pods of a pipeline are compiled."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML was built with it; both make plain data alone."""


@dataclass(frozen=True)
class Version:
    """A compiled pipeline."""

    spec: RunSpec
    """With the placement that is compiled in."""
    package: Path
    digest: str
    """SHA-256 of its bytes."""

    @property
    def name(self) -> str:
        """The run's name and the first digits of the digest."""
        return f"{label_value(self.spec.name)}-{self.digest[:SHORT]}"


def compile_version(spec: RunSpec, placement: Placement, folder: Path) -> Version:
    """What runs a spec with a placement: the spec as it is, or with those fields that its pods need.

    Args:
        spec: resolved, with its own placement.
        placement: of the run.
        folder: where to write.
    """
    found = _compiled(spec, folder / "pipeline.yaml")
    needed = spec.placement.model_copy(update={name: getattr(placement, name) for name in OF_PODS})
    if needed == spec.placement:
        return found
    other = _compiled(spec.model_copy(update={"placement": needed}), folder / "needed.yaml")
    same = _serves(spec.placement, placement) and _pods(found.package) == _pods(other.package)
    return found if same else other


def _compiled(spec: RunSpec, target: Path) -> Version:
    compile_pipeline(spec, target)
    return Version(spec, target, file_sha256(target))


def _serves(own: Placement, placement: Placement) -> bool:
    """Whether a pipeline with the placement `own` can be given the other one."""
    try:
        demand_compiled(own, placement)
        told = placed(own, Parameters.model_validate(parameters(own, placement)))
    except SpecError:
        return False
    return told == placed(placement, parameters_of(placement))


def _pods(package: Path) -> tuple[Any, Any]:
    """What a compiled pipeline says of its pods: their containers, and what Kubernetes gives them."""
    ir, *platform = yaml.load_all(package.read_bytes(), _LOADER)
    return ir["deploymentSpec"], platform


def parameters(own: Placement, placement: Placement) -> dict[str, Any]:
    """What a pipeline is given for a placement: what people see, and for the rest the fields that differ.

    Args:
        own: the placement of the spec that was compiled.
        placement: of the run.
    """
    seen = parameters_of(placement)
    rest = _beyond(placed(own, seen).model_dump(mode="json"), placement.model_dump(mode="json"))
    return seen.model_dump() | {"placement": json.dumps(rest, sort_keys=True) if rest else ""}


def _beyond(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The part of `new` that `old` does not say, down to single fields."""
    found = {}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            value = _beyond(before, value)
            if not value:
                continue
        if name not in old or value != before:
            found[name] = value
    return found
