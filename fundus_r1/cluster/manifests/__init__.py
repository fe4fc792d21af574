"""The jobs of a run as pure functions: placement -> dict, as the Kubernetes API takes it.

===================  ====================================================================
``order``            what a job is to do, whichever operator runs it
``pod``              the pods of all jobs: resources, volumes, environment, security
``pytorchjob``       stage 7 as Kubeflow's PyTorchJob
``trainjob``         stage 7 as Kubeflow's TrainJob, and the TrainingRuntime that it needs
``rayjob``           stage 8 as a RayJob
===================  ====================================================================

Nothing here talks to a cluster; what of a cluster has to be known (its trainer API, the owners of a
job) is an argument. What a platform engineer may have to change stands in ``placement.cluster``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

from fundus_r1.cluster.child import JOB, PYTORCHJOB, RAYJOB, TRAINJOB, Child, child_name
from fundus_r1.cluster.manifests.order import Manifest, Order
from fundus_r1.cluster.manifests.pod import SHARED
from fundus_r1.cluster.manifests.pytorchjob import pytorchjob
from fundus_r1.cluster.manifests.rayjob import rayjob
from fundus_r1.cluster.manifests.trainjob import training_runtime, trainjob
from fundus_r1.spec.placement import Placement

__all__ = ["CHILD_STAGES", "Manifest", "child_of", "named", "placement_in_pod", "training_runtime"]

CHILD_STAGES = ("sft", "grpo")
"""The stages that become jobs of their own where ``placement.cluster`` is set."""


def child_of(
    stage: str,
    fingerprint: str,
    placement: Placement,
    *,
    api: Literal["pytorchjob", "trainjob"],
    run: str,
    spec_uri: str,
    output_uri: str,
    image: str,
    owners: Sequence[Manifest] = (),
    reads: Sequence[str] = (),
) -> Child:
    """The job of a stage.

    Args:
        stage: one of `CHILD_STAGES`.
        fingerprint: of the output that it makes, 64 hexadecimal digits.
        placement: with the cluster; its fields decide all that is in the manifest.
        api: what stage 7 is; the caller knows it from ``placement.trainer_api`` and the cluster.
        run: id of the run that asks for it.
        spec_uri: ``s3://`` address of the stage's job, which its pods read.
        output_uri: address of the output, for whoever looks at the job.
        image: of the pods, best by digest.
        owners: owner references.
        reads: places that the stage reads beside the store, such as the folder of the student; a claim among
            them is mounted read-only where `spec.places` looks for it.

    Raises:
        SpecError: the placement cannot be had on a cluster; says why and what to change.
    """
    order = Order(
        stage, fingerprint, placement, run, spec_uri, output_uri, image, tuple(owners), tuple(reads)
    )
    if stage == "grpo":
        resource, manifest = RAYJOB, rayjob(order)
    elif api == "trainjob":
        resource, manifest = TRAINJOB, trainjob(order)
    else:
        resource, manifest = PYTORCHJOB, pytorchjob(order)
    return Child(stage=stage, fingerprint=fingerprint, resource=resource, manifest=manifest, run=run)


def named(child: Child, attempt: int) -> Manifest:
    """The manifest of a later attempt: its name, and the labels by which its pods are found."""
    name = child_name(child.stage, child.fingerprint, attempt)
    manifest: Manifest = _relabelled(copy.deepcopy(child.manifest), name)
    manifest["metadata"]["name"] = name
    return manifest


def _relabelled(node: Any, name: str) -> Any:
    if isinstance(node, dict):
        return {key: name if key == JOB else _relabelled(value, name) for key, value in node.items()}
    if isinstance(node, list):
        return [_relabelled(item, name) for item in node]
    return node


def placement_in_pod(stage: str, placement: Placement) -> Placement:
    """The placement as the pods of a job are to read it: they start no further job.

    Their scratch folder is the pod's own; that of GRPO is the shared claim where there is one, since
    verl's processes on other machines read prompts and weights from it.
    """
    shared = placement.cluster is not None and placement.cluster.shared_claim is not None
    cache = SHARED if stage == "grpo" and shared else None
    return placement.model_copy(update={"cluster": None, "cache": cache})
