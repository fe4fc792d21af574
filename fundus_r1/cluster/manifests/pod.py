"""The pods of all jobs: what they ask for, what they see, and what they may do.

A pod is as Kubernetes' Pod Security Standard *restricted* wants it, and its root file system is
read-only: what it writes goes to its scratch volume, which is ``/tmp`` and the home folder, or to
shared memory. It needs no right in the cluster, so it gets no token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fundus_r1.cluster.manifests.order import Manifest, Order, without_nulls
from fundus_r1.errors import SpecError
from fundus_r1.spec.cluster import Cluster, PodResources, Toleration
from fundus_r1.spec.places import PVC_ROOT
from fundus_r1.storage.s3 import ACCESS_KEY_ENV, SECRET_KEY_ENV

SCRATCH = "/tmp"
"""Where the scratch volume is: temporary files, the home folder, caches."""
SHARED = "/shared"
"""Where the claim is that all machines of a job see."""
ENDPOINT_ENV = "FUNDUS_R1_S3_ENDPOINT"
REGION_ENV = "FUNDUS_R1_S3_REGION"
"""Of the store; a pod needs both before it can read what it is to do."""
_OPERATORS = {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "RAY_ADDRESS", "RAY_AUTH_TOKEN"}
_OPERATORS_BEGIN = "PET_"
"""What operators set themselves."""


@dataclass(frozen=True)
class PodKind:
    """What sets the pods of a job apart from each other."""

    container: str
    """Name of the container; some operators look for one of theirs."""
    resources: PodResources
    gpus: int = 0
    """Pods with GPUs go where the GPUs are; others need not."""
    command: tuple[str, ...] = ()
    """Empty where the operator gives one."""
    trains: bool = True
    """It has the further resources and the second network of the job, and the run's clock ends it."""
    works: bool = True
    """It takes part in the stage: it has the credentials of the store and such, and the shared claim."""


def pod_template(order: Order, kind: PodKind) -> Manifest:
    """The template of a kind of pod, without a restart policy, which the operators treat differently.

    The run's clock is the pod's own deadline. It counts from the moment on which a node has taken the
    pod, so the wait for room does not count.

    Raises:
        SpecError: a variable of the spec is one that we or the operators set.
    """
    cluster, run_s = order.cluster, order.job.clocks.run_s
    secrets = [{"name": name} for name in dict.fromkeys(cluster.image_pull_secrets)]
    spec = {
        "containers": [container(order, kind)],
        "volumes": _volumes(order, kind),
        "securityContext": pod_security(cluster),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "serviceAccountName": cluster.service_account,
        "imagePullSecrets": secrets or None,
        "priorityClassName": cluster.priority_class,
        "schedulerName": cluster.scheduler,
        "activeDeadlineSeconds": math.ceil(run_s) if kind.trains and run_s is not None else None,
        **(_where_gpus_are(cluster) if kind.gpus else {}),
    }
    return {"metadata": order.pod_metadata(trains=kind.trains), "spec": without_nulls(spec)}


def container(order: Order, kind: PodKind) -> Manifest:
    """The only container of a pod."""
    command: Manifest = {"command": list(kind.command)} if kind.command else {}
    return {
        "name": kind.container,
        "image": order.image,
        **command,
        "env": variables(order, kind),
        "resources": resources(order, kind),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": _mounts(order, kind),
    }


CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_security(cluster: Cluster) -> Manifest:
    """Numeric and not root; what is on volumes belongs to the pods' group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": cluster.run_as_user,
        "runAsGroup": cluster.run_as_group,
        "fsGroup": cluster.run_as_group,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def resources(order: Order, kind: PodKind) -> Manifest:
    """Requests, and limits that are the same: what a pod has is what it may count on.

    Raises:
        SpecError: GPUs are needed, and the cluster has none.
    """
    asked = dict(order.job.extra_resources) if kind.trains else {}
    asked |= {
        "cpu": kind.resources.cpu,
        "memory": kind.resources.memory,
        "ephemeral-storage": kind.resources.scratch,
    }
    if kind.gpus:
        if order.cluster.gpu_resource is None:
            raise SpecError(
                f"{order.stage} computes on GPUs, but the cluster is said to have none",
                where="placement.cluster.gpu_resource",
                hint="name the resource that a GPU is there, such as nvidia.com/gpu",
            )
        asked[order.cluster.gpu_resource] = str(kind.gpus)
    return {"requests": dict(asked), "limits": dict(asked)}


def variables(order: Order, kind: PodKind) -> list[Manifest]:
    """The environment of a container; credentials are references to Secrets.

    Raises:
        SpecError: a variable of the spec is one that we or the operators set.
    """
    store, cluster = order.placement.store, order.cluster
    plain: dict[str, str | None] = {
        "TMPDIR": SCRATCH,
        "HOME": SCRATCH,
        "XDG_CACHE_HOME": f"{SCRATCH}/cache",
        "PYTHONUNBUFFERED": "1",
    }
    secret: dict[str, tuple[str, str]] = {}
    if kind.works:
        plain |= {ENDPOINT_ENV: store.endpoint, REGION_ENV: store.region}
        secret[ACCESS_KEY_ENV] = (cluster.store_secret, cluster.store_access_key)
        secret[SECRET_KEY_ENV] = (cluster.store_secret, cluster.store_secret_key)
        _refuse_twice(cluster.secrets, {*plain, *secret}, "placement.cluster.secrets")
        secret |= {name: (kept.secret, kept.key) for name, kept in sorted(cluster.secrets.items())}
    _refuse_twice(order.job.env, {*plain, *secret}, f"placement.cluster.{order.stage}.env")
    plain |= dict(sorted(order.job.env.items()))
    return [{"name": name, "value": value} for name, value in plain.items() if value is not None] + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": where, "key": key}}}
        for name, (where, key) in secret.items()
    ]


def _refuse_twice(given: Iterable[str], ours: set[str], where: str) -> None:
    for name in given:
        if name in ours | _OPERATORS or name.startswith(_OPERATORS_BEGIN):
            raise SpecError(
                f"The variable {name} is set for every pod by us or by the operator",
                where=where,
                hint="take it out",
            )


def _volumes(order: Order, kind: PodKind) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "scratch", "emptyDir": {"sizeLimit": kind.resources.scratch}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": kind.resources.shared_memory}},
        *(
            {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            for name, claim in _read_claims(order, kind)
        ),
    ]
    if (claim := _shared_claim(order, kind)) is not None:
        volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": claim}})
    return volumes


def _mounts(order: Order, kind: PodKind) -> list[Manifest]:
    mounts: list[Manifest] = [
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "shm", "mountPath": "/dev/shm"},
        *(
            {"name": name, "mountPath": str(PVC_ROOT / claim), "readOnly": True}
            for name, claim in _read_claims(order, kind)
        ),
    ]
    if _shared_claim(order, kind) is not None:
        mounts.append({"name": "shared", "mountPath": SHARED})
    return mounts


def _read_claims(order: Order, kind: PodKind) -> list[tuple[str, str]]:
    """Name of the volume -> claim; a claim's own name may be too long for a volume's."""
    return [(f"read-{number}", claim) for number, claim in enumerate(order.claims)] if kind.works else []


def _shared_claim(order: Order, kind: PodKind) -> str | None:
    """Only verl's processes need a folder that they all see."""
    return order.cluster.shared_claim if order.stage == "grpo" and kind.works else None


def _where_gpus_are(cluster: Cluster) -> Manifest:
    return {
        "nodeSelector": dict(cluster.node_selector) or None,
        "tolerations": [_toleration(item) for item in cluster.tolerations] or None,
        "affinity": cluster.affinity,
    }


def _toleration(item: Toleration) -> Manifest:
    return {
        "key": item.key,
        "operator": item.operator,
        "value": item.value,
        "effect": item.effect,
        "tolerationSeconds": item.seconds,
    }
