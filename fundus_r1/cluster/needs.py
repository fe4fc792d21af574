"""The pods that a run asks a cluster for, stage by stage, with what each of them asks for.

Those of jobs are read from the very manifests that the launcher sends, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fundus_r1.cluster.child import RAYJOB
from fundus_r1.cluster.manifests import CHILD_STAGES, child_of
from fundus_r1.spec import RunSpec
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.pins import loading_stages

Amounts = dict[str, Decimal]
"""Resource -> cores, bytes or pieces."""
_NO_OUTPUT = "0" * 64
_COMMON = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True)
class PodGroup:
    """Pods of a stage that are alike and are there at the same time."""

    stage: str
    count: int
    asks: dict[str, str]
    """Resource -> quantity that each of them requests."""
    template: dict[str, Any] = field(default_factory=dict)
    """Of the pods' spec, what says on which nodes they may run."""
    together: bool = True
    """Whether they need each other; else some may come when others have ended."""

    @property
    def least(self) -> int:
        """How many there must be room for at once."""
        return self.count if self.together else 1

    @property
    def selector(self) -> dict[str, str]:
        return self.template.get("nodeSelector") or {}

    @property
    def tolerations(self) -> list[dict[str, Any]]:
        return self.template.get("tolerations") or []

    @property
    def told(self) -> str:
        """What a pod asks for, the rarest first."""
        rare = sorted(name for name in self.asks if name not in _COMMON)
        names = [*rare, *(name for name in _COMMON if name in self.asks)]
        return ", ".join(f"{self.asks[name]} {name}" for name in names)


def shown(value: Decimal) -> str:
    """A number for people; large ones are bytes."""
    return f"{value / 2**30:.0f}Gi" if value >= 2**30 else f"{value.normalize():f}"


def job_stages(spec: RunSpec) -> list[str]:
    """The stages of a run that become jobs on a cluster."""
    recipe = spec.science.recipe
    return [stage for stage in CHILD_STAGES if {"sft": recipe.sft, "grpo": recipe.grpo}[stage]]


def groups_of(spec: RunSpec, stage: str) -> list[PodGroup]:
    """The pods of a job.

    Args:
        spec: with ``placement.cluster``.
        stage: one of `job_stages`.

    Raises:
        SpecError: the placement cannot be had on a cluster.
    """
    # TrainJob and PyTorchJob have the same pods; only the latter shows them.
    child = child_of(
        stage,
        _NO_OUTPUT,
        spec.placement,
        api="pytorchjob",
        run="preflight",
        spec_uri="s3://preflight",
        output_uri="s3://preflight",
        image="preflight",
    )
    if child.resource == RAYJOB:
        found = _of_rayjob(child.manifest["spec"])
    else:
        replicas = child.manifest["spec"]["pytorchReplicaSpecs"].values()
        found = ((each["replicas"], each["template"]) for each in replicas)
    return [_group(stage, count, template["spec"]) for count, template in found]


def step_groups(spec: RunSpec) -> list[PodGroup]:
    """The pods of the pipeline's own steps that load a model onto GPUs."""
    place = spec.placement
    cluster = place.cluster or Cluster()
    if cluster.gpu_resource is None:
        return []
    pods = cluster.findings
    asks = {
        "cpu": pods.cpu,
        "memory": pods.memory,
        cluster.gpu_resource: str(place.engine.tensor_parallel),
    }
    tolerations = [each.model_dump(exclude_none=True, exclude={"seconds"}) for each in cluster.tolerations]
    where = {"nodeSelector": cluster.node_selector, "tolerations": tolerations}
    counts = {"findings": place.findings.workers}
    return [
        PodGroup(stage, counts.get(stage, 1), asks, where, together=False)
        for stage in loading_stages(spec.science, place)
    ]


def _of_rayjob(job: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    rays = job["rayClusterSpec"]
    yield 1, rays["headGroupSpec"]["template"]
    for group in rays.get("workerGroupSpecs") or ():
        yield group["replicas"], group["template"]
    yield 1, job["submitterPodTemplate"]


def _group(stage: str, count: int, pod: dict[str, Any]) -> PodGroup:
    [container] = pod["containers"]
    return PodGroup(stage, count, dict(container["resources"]["requests"]), pod)
