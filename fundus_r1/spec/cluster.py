"""``placement.cluster``: how stages 7 and 8 run as jobs of their own on Kubernetes.

Every value that a platform engineer may have to change stands here, none in the manifests' code. Names of
secrets and their keys are no secrets; what is in them never enters a spec.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fundus_r1.spec.base import Spec
from fundus_r1.spec.kubernetes import (
    Annotations,
    Key,
    Labels,
    LabelValue,
    Name,
    Namespace,
    Quantity,
    SecretEntry,
    Variable,
    amount,
)


class SecretKey(Spec):
    """One entry of a Secret in the run's namespace."""

    secret: Name
    """Name of the Secret."""
    key: SecretEntry
    """Its entry."""


class Toleration(Spec):
    """Lets pods onto nodes with a taint; the fields of Kubernetes."""

    key: Key | None = None
    """Of the taint; None with ``Exists`` tolerates all."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """``Equal`` compares `value` too."""
    value: LabelValue | None = None
    """Of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """None tolerates every effect."""
    seconds: int | None = None
    """How long a ``NoExecute`` taint is borne; None for ever."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.operator == "Equal" and self.key is None:
            raise ValueError("operator Equal needs the key of a taint")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists compares no value; take value out, or make operator Equal")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds are of use with the effect NoExecute alone")
        return self


class PodResources(Spec):
    """What each pod of a job asks for; GPUs are the stage's own ``processes``."""

    cpu: Quantity = "8"
    """Cores, as a Kubernetes quantity; request and limit."""
    memory: Quantity = "64Gi"
    """Memory; request and limit."""
    shared_memory: Quantity = "16Gi"
    """``/dev/shm``, which counts as memory: NCCL and data loaders use it."""
    scratch: Quantity = "200Gi"
    """Disk of the pod's scratch folder, for weights, data on their way and checkpoints."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if amount(self.shared_memory) > amount(self.memory):
            raise ValueError(
                f"shared_memory ({self.shared_memory}) counts as memory, of which there is {self.memory}"
            )
        return self


class Clocks(Spec):
    """Two clocks: a job that waits for room is not late, one that runs too long is."""

    queue_s: float | None = Field(default=None, gt=0)
    """Seconds that a job may wait for room; None waits for ever."""
    run_s: float | None = Field(default=7 * 24 * 3600.0, gt=0)
    """Seconds that it may run from the moment on which its pods run; None without limit."""


class ChildJob(Spec):
    """How one stage's job is made."""

    resources: PodResources = PodResources()
    """Of each pod that trains."""
    head: PodResources = PodResources(cpu="4", memory="32Gi", shared_memory="4Gi", scratch="100Gi")
    """Of a Ray cluster's head, where it has no GPUs; unused otherwise."""
    submitter: PodResources = PodResources(cpu="500m", memory="1Gi", shared_memory="64Mi", scratch="1Gi")
    """Of the pod that submits to Ray and shows what the driver says; unused for stage 7."""
    clocks: Clocks = Clocks()
    """How long it may wait and run."""
    env: dict[Variable, str] = Field(default_factory=dict)
    """Further variables: NCCL's and such. None may change a result."""
    extra_resources: dict[Key, Quantity] = Field(default_factory=dict)
    """Further resources of each pod that trains, such as ``rdma/hca: "1"``."""
    annotations: Annotations = Field(default_factory=dict)
    """Further annotations of its pods, such as those of a second network."""


class Cluster(Spec):
    """The Kubernetes namespace in which a run's jobs are made; the run's own steps live there too."""

    namespace: Namespace | None = None
    """None takes that of the step's own pod, or of the kubeconfig's context."""
    image: str | None = None
    """Image of the jobs' pods, best by digest; None takes that of ``images/images.lock``."""
    image_pull_secrets: tuple[Name, ...] = ()
    """Names of Secrets for a private registry."""
    service_account: Name | None = None
    """Of the jobs' pods, which need no rights; None takes the namespace's default."""
    store_secret: Name = "fundus-r1-store"
    """Secret with the store's credentials."""
    store_access_key: SecretEntry = "accesskey"
    """Its entry with the access key; Kubeflow's own Secret uses this name."""
    store_secret_key: SecretEntry = "secretkey"
    """Its entry with the secret key."""
    secrets: dict[Variable, SecretKey] = Field(default_factory=dict)
    """Variable -> where its value is kept: those named by ``api_key_env``, and ``HF_TOKEN``."""
    gpu_resource: Key | None = "nvidia.com/gpu"
    """Name of the resource that a GPU is; None on a cluster without, where no pod asks for any."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels of the nodes that pods with GPUs may run on."""
    tolerations: tuple[Toleration, ...] = ()
    """Of pods with GPUs."""
    affinity: dict[str, Any] | None = None
    """Kubernetes' own affinity of pods with GPUs."""
    queue: Name | None = None
    """Kueue's LocalQueue; None without Kueue."""
    queue_priority: Name | None = None
    """Kueue's WorkloadPriorityClass."""
    priority_class: Name | None = None
    """Kubernetes' PriorityClass of the pods."""
    scheduler: Name | None = None
    """Name of the scheduler of the pods; None takes the cluster's own."""
    run_as_user: int = Field(default=1000, ge=1)
    """Numeric user of the pods, never root."""
    run_as_group: int = Field(default=1000, ge=1)
    """Numeric group of the pods, and owner of their volumes."""
    istio_injection: bool = False
    """Whether Istio may put its sidecar into the pods; it keeps them alive for ever and blocks rendezvous."""
    runtime: Name | None = None
    """A TrainingRuntime in the namespace for TrainJobs; None makes the one that `plan --manifests` writes."""
    shared_claim: Name | None = None
    """PersistentVolumeClaim that many nodes may mount (ReadWriteMany). GRPO on more than one machine
    needs it, since verl's processes read prompts and weights from one folder."""
    ttl_s: int = Field(default=3600, ge=0)
    """Seconds that an ended job stays to be looked at."""
    ray_version: str = "2.60.0"
    """Of Ray in the image; KubeRay goes by it."""
    ray_ttl_s: int = Field(default=60, ge=0)
    """Seconds that the Ray cluster of an ended job stays, with its GPUs, for the last lines of its logs."""
    retries: int = Field(default=0, ge=0)
    """Times that the operator itself starts pods again. A step that is tried again goes on from the
    last checkpoint as well, and says why the first try failed; so 0 is a good choice."""
    labels: Labels = Field(default_factory=dict)
    """Further labels of jobs and pods."""
    annotations: Annotations = Field(default_factory=dict)
    """Further annotations of jobs and pods."""
    heartbeat_s: float = Field(default=60.0, gt=0)
    """Seconds between the signs of life that a launcher leaves on its job; the reaper looks at them."""
    findings: PodResources = PodResources()
    """Of each worker of stage 3 and of stage 9, which are pods of the pipeline; GPUs are
    ``engine.tensor_parallel``."""
    sft: ChildJob = ChildJob()
    """The job of stage 7."""
    grpo: ChildJob = ChildJob()
    """The job of stage 8."""
