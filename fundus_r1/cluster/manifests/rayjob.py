"""Stage 8 as a RayJob (ray.io/v1): a Ray cluster of its own, and one job on it.

Without a claim that many machines may mount, verl's processes must be on the machine that has the
prompts and weights: the head has the GPUs, and there is no other. With one, the head has none, and each
machine with GPUs is a worker of one group; the driver, verl's trainer and its processes meet in the claim.

The job is submitted by a small pod of its own (``K8sJobMode``), which also shows what the driver says.
Two other modes were looked at. ``SidecarMode`` puts a container into the head instead, to which KubeRay 1.7
gives neither a security context nor resources of ours: a namespace that enforces the Pod Security Standard
*restricted* refuses that head. ``HTTPMode`` shows the driver's words nowhere. The price of the pod: a
scheduler that starts all pods of a job at once must not wait for it. Kueue counts it in, and KubeRay's own
batch schedulers leave it out.
"""

from __future__ import annotations

from fundus_r1.cluster.child import RAYJOB
from fundus_r1.cluster.manifests.order import Manifest, Order, demand_one_node, without_nulls
from fundus_r1.cluster.manifests.pod import PodKind, pod_template
from fundus_r1.spec.placement import GrpoPlace

_CONTAINER = "fundus-r1"
_GROUP = "workers"


def rayjob(order: Order) -> Manifest:
    """The manifest.

    Raises:
        SpecError: more than one machine and no claim that all of them see, or GPUs where there are none.
    """
    cluster, place = order.cluster, order.placement.grpo
    if cluster.shared_claim is None:
        demand_one_node(
            place.nodes,
            "placement.grpo.nodes",
            "verl's processes on them have no folder that all of them see",
            "name a claim that many nodes may mount (placement.cluster.shared_claim), or set nodes to 1",
        )
    spec = {
        "entrypoint": order.command_line,
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": _submitter(order),
        "rayClusterSpec": _ray_cluster(order),
        # The cluster goes soon after its job, since it holds the GPUs; the RayJob stays.
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": cluster.ray_ttl_s,
        "activeDeadlineSeconds": order.deadline,
        "backoffLimit": cluster.retries,
        "suspend": None if cluster.queue is None else True,
    }
    return order.manifest(RAYJOB, without_nulls(spec))


def _ray_cluster(order: Order) -> Manifest:
    cluster, place, job = order.cluster, order.placement.grpo, order.job
    trainer = PodKind(_CONTAINER, job.resources, gpus=place.processes if place.device == "cuda" else 0)
    found: Manifest = {
        "rayVersion": cluster.ray_version,
        # Whoever can reach a cluster without a token can run programs in it.
        "authOptions": {"mode": "token"},
    }
    if cluster.shared_claim is None:
        return found | {"headGroupSpec": _head(order, trainer, _sizes(place))}
    worker = {
        "groupName": _GROUP,
        "replicas": place.nodes,
        "minReplicas": place.nodes,
        "maxReplicas": place.nodes,
        "rayStartParams": _sizes(place),
        "template": pod_template(order, trainer),
    }
    head = PodKind(_CONTAINER, job.head, trains=False)
    return found | {
        "headGroupSpec": _head(order, head, {"num-gpus": "0"}),
        "workerGroupSpecs": [worker],
    }


def _head(order: Order, kind: PodKind, sizes: dict[str, str]) -> Manifest:
    return {
        "rayStartParams": {"dashboard-host": "0.0.0.0", **sizes},
        "template": pod_template(order, kind),
    }


def _sizes(place: GrpoPlace) -> dict[str, str]:
    """What Ray is to think that a machine has. Without GPUs verl counts logical ones, and asks for three
    CPUs a process and a few for its queue, whether the machine has them or not."""
    sizes = {"num-gpus": str(place.processes)}
    return sizes if place.device == "cuda" else sizes | {"num-cpus": str(3 * place.processes + 3)}


def _submitter(order: Order) -> Manifest:
    template = pod_template(order, PodKind(_CONTAINER, order.job.submitter, trains=False, works=False))
    template["spec"]["restartPolicy"] = "Never"
    return template
