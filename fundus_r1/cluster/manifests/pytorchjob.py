"""Stage 7 as a PyTorchJob (kubeflow.org/v1): a master, and as many workers as there are further machines.

Each pod runs the same command; torchrun in it takes from the environment how large the group is and
where it meets. The job is built with the models of ``kubeflow-training``, so a field that the API does
not know cannot be named.
"""

from __future__ import annotations

from fundus_r1.cluster.child import PYTORCHJOB
from fundus_r1.cluster.manifests.order import Manifest, Order, demand_one_node
from fundus_r1.cluster.manifests.pod import PodKind, pod_template

_CONTAINER = "pytorch"
"""The operator looks for a container of this name."""


def pytorchjob(order: Order) -> Manifest:
    """The manifest.

    Raises:
        SpecError: more than one machine, and a launcher that knows only one.
    """
    from kubeflow.training import (
        KubeflowOrgV1PyTorchJob,
        KubeflowOrgV1PyTorchJobSpec,
        KubeflowOrgV1ReplicaSpec,
        KubeflowOrgV1RunPolicy,
    )
    from kubernetes.client import ApiClient, Configuration

    cluster, nodes = order.cluster, order.placement.sft.nodes
    processes = processes_on_each(order)
    template = pod_template(order, sft_pod(order, _CONTAINER))

    def replicas(count: int) -> KubeflowOrgV1ReplicaSpec:
        return KubeflowOrgV1ReplicaSpec(
            replicas=count, restart_policy="OnFailure" if cluster.retries else "Never", template=template
        )

    groups = {"Master": replicas(1)} | ({"Worker": replicas(nodes - 1)} if nodes > 1 else {})
    job = KubeflowOrgV1PyTorchJob(
        api_version=PYTORCHJOB.api_version,
        kind=PYTORCHJOB.kind,
        metadata=order.metadata(),
        spec=KubeflowOrgV1PyTorchJobSpec(
            nproc_per_node=str(processes),
            pytorch_replica_specs=groups,
            run_policy=KubeflowOrgV1RunPolicy(
                # Pods that have ended stay, for their logs and exit codes; one that hangs goes.
                clean_pod_policy="Running",
                ttl_seconds_after_finished=cluster.ttl_s,
                active_deadline_seconds=order.deadline,
                backoff_limit=cluster.retries,
                suspend=None if cluster.queue is None else True,
            ),
        ),
    )
    manifest: Manifest = ApiClient(Configuration()).sanitize_for_serialization(job)
    return manifest


def sft_pod(order: Order, container: str) -> PodKind:
    """The pods of stage 7, which are all alike."""
    return PodKind(
        container=container,
        resources=order.job.resources,
        gpus=0 if order.cluster.gpu_resource is None else processes_on_each(order),
        command=tuple(order.command),
    )


def processes_on_each(order: Order) -> int:
    """Processes on each machine, which are its GPUs.

    Raises:
        SpecError: more than one machine, and a launcher that knows only one.
    """
    place = order.placement.sft
    if place.launcher != "torchrun":
        demand_one_node(
            place.nodes,
            "placement.sft.nodes",
            f"{place.launcher} starts processes on one machine only",
            "set placement.sft.launcher to torchrun",
        )
    return 1 if place.launcher == "process" else place.processes
