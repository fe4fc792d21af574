"""What a job of ours is called, and how it is known again by whoever meets it.

A name follows from the stage and the fingerprint of its output, so a launcher that starts again finds
the job that runs. Two runs that need the same output share the job, and each owns it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fundus_r1.errors import SpecError
from fundus_r1.fingerprint import SHORT

MANAGER = "fundus-r1"
"""Value of `MANAGED_BY`: who made the object."""
MANAGED_BY = "app.kubernetes.io/managed-by"
PREFIX = "fundus-r1.io/"
STAGE = PREFIX + "stage"
RUN = PREFIX + "run"
FINGERPRINT = PREFIX + "fingerprint"
"""Label: the first digits. Annotation: all of it."""
JOB = PREFIX + "job"
"""Label of jobs and pods: the job's name."""
SEEN = PREFIX + "seen"
"""Annotation: when a launcher last followed the job (RFC 3339, UTC)."""
SPEC = PREFIX + "spec"
"""Annotation: URI of what the job was given to do."""
OUTPUT = PREFIX + "output"
"""Annotation: URI of the output that it makes."""

_LABEL = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Resource:
    """A kind of object of the Kubernetes API."""

    group: str
    """Empty for the core."""
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("", "v1", "events", "Event")
PYTORCHJOB = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
TRAINJOB = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
TRAINING_RUNTIME = Resource("trainer.kubeflow.org", "v1alpha1", "trainingruntimes", "TrainingRuntime")
RAYJOB = Resource("ray.io", "v1", "rayjobs", "RayJob")
WORKFLOW = Resource("argoproj.io", "v1alpha1", "workflows", "Workflow")
WORKLOAD = Resource("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")
JOBS = (PYTORCHJOB, TRAINJOB, RAYJOB)
"""The kinds that a job of ours can have."""


@dataclass(frozen=True)
class Child:
    """A job to be launched."""

    stage: str
    fingerprint: str
    """Of the output that it makes, 64 hexadecimal digits."""
    resource: Resource
    manifest: dict[str, Any]
    """What is applied; its name is that of the first attempt."""
    run: str
    """Of the run that launches it; another run may have launched it before."""

    @property
    def name(self) -> str:
        """Of the first attempt."""
        return child_name(self.stage, self.fingerprint)


def child_name(stage: str, fingerprint: str, attempt: int = 1) -> str:
    """``fr1-<stage>-<first digits of the fingerprint>``, from the second attempt on with ``-a<attempt>``."""
    name = f"fr1-{stage}-{fingerprint[:SHORT]}"
    return name if attempt == 1 else f"{name}-a{attempt}"


def child_labels(stage: str, fingerprint: str, run: str, name: str) -> dict[str, str]:
    """Labels of a job and of its pods."""
    return {
        MANAGED_BY: MANAGER,
        STAGE: stage,
        RUN: label_value(run),
        FINGERPRINT: fingerprint[:SHORT],
        JOB: name,
    }


def label_value(text: str) -> str:
    """A text as Kubernetes takes it for a label: at most 63 letters, digits, ``.``, ``_`` and ``-``."""
    return _LABEL.sub("-", text)[:63].strip("-._")


def read_child(file: Path) -> Child:
    """The job in a YAML file, which says itself what it makes.

    Raises:
        SpecError: it is no job of ours.
    """
    hint = "give one of the jobs that fundus-r1 plan --manifests writes"
    try:
        manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SpecError(f"The manifest cannot be read: {error}", where=str(file), hint=hint) from error
    meta = manifest.get("metadata") or {} if isinstance(manifest, dict) else {}
    told = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    resource = next((found for found in JOBS if isinstance(manifest, dict) and _is(manifest, found)), None)
    if resource is None or not {STAGE, FINGERPRINT}.issubset(told):
        raise SpecError(f"This is no job of {MANAGER}", where=str(file), hint=hint)
    child = Child(told[STAGE], told[FINGERPRINT], resource, manifest, told.get(RUN, ""))
    if child.name != meta.get("name"):
        raise SpecError(
            f"The job's name is not {child.name}, which follows from what it makes",
            where=str(file),
            hint=hint,
        )
    return child


def _is(manifest: dict[str, Any], resource: Resource) -> bool:
    return (manifest.get("apiVersion"), manifest.get("kind")) == (resource.api_version, resource.kind)
