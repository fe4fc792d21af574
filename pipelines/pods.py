"""What the pods of a pipeline's steps get: image, size, GPUs, secrets, volumes, and further tries.

What a run's parameters may change arrives as a channel, from the step `preflight`: the GPUs of a pod that
loads a model, its size and its nodes, and the names of secrets. The rest is compiled in
(`fundus_r1.spec.placing.compiled_in`). ``kfp.local`` ignores all of it but further tries, so a pipeline
without a cluster has none: on one machine a failure is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from fundus_r1.cluster.child import STAGE, label_value
from fundus_r1.spec import RunSpec
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.models import FolderModel
from fundus_r1.spec.pins import loading_stages
from fundus_r1.spec.places import PVC_ROOT, claim_of
from fundus_r1.spec.placing import claims, step_variables
from pipelines.images import ImageName

SCRATCH = "/scratch"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
ISTIO_LABEL = "sidecar.istio.io/inject"


@dataclass(frozen=True)
class Size:
    """Cores and memory that a pod is given for sure, and at most."""

    cpu: tuple[str, str]
    memory: tuple[str, str]


SMALL = Size(cpu=("250m", "1"), memory=("512Mi", "4Gi"))
"""Looks, plans, waits for a job."""
MEDIUM = Size(cpu=("1", "4"), memory=("4Gi", "16Gi"))
"""Reads data, asks models at their addresses."""
LARGE = Size(cpu=("4", "8"), memory=("16Gi", "32Gi"))
"""Computes with a model on a CPU."""

WORKER = "findings: worker"
_SMALL = frozenset({"preflight", "findings: plan", "finish"})
_JOBS = frozenset({"sft", "grpo"})
_ASKS = frozenset({"preflight", "mirror", "knowledge", WORKER, "traces", "quality", "grpo", "evaluate"})
"""Steps that are given keys of endpoints and of the hub."""
_SCRATCH = frozenset({"mirror", "index", WORKER, "evaluate"})
"""Steps that bring data or weights to their disk."""

TRIES = {"preflight": 0, WORKER: 5, "finish": 3}
"""Further tries of a step; of all others `_TRIES`. Each goes on from what is in the store. Kubeflow does not
tell a failure that another try may cure from one that it cannot, so there are few; where GPUs would be asked
for again, the step itself tells (`fundus_r1.stages.tries`)."""
_TRIES = 2
_BACKOFF = {"backoff_duration": "60s", "backoff_factor": 2.0, "backoff_max_duration": "1800s"}


@dataclass(frozen=True)
class Secrets:
    """Channels with the names of two Secrets."""

    store: Any
    models: Any


@dataclass(frozen=True)
class GpuPods:
    """Channels with what pods that load a model ask for; see `fundus_r1.stages.beginning.Placed`."""

    gpus: Any
    cpu: Any
    memory: Any
    nodes: Any
    tolerations: Any


@dataclass(frozen=True)
class Pods:
    """Gives each step of a run what its pod needs.

    Attributes:
        spec: the run; of its placement, what is compiled in.
        images: name in the lock -> what a pod is given.
    """

    spec: RunSpec
    images: Mapping[str, str]

    def step(
        self, task: dsl.PipelineTask, title: str, secrets: Secrets, gpu: GpuPods | None = None
    ) -> dsl.PipelineTask:
        """The task of a step, ready.

        Args:
            task: made by its component.
            title: what the UI shows.
            secrets: names of secrets.
            gpu: for a step that may load a model, what it asks for then.
        """
        loads, cluster = self._loads(title), self.spec.placement.cluster
        # Kubeflow's cache knows image strings and parameter values only; our store knows better.
        task.set_caching_options(False).set_display_name(title)
        task.set_container_image(self.images[self._image(title)])
        kubernetes.add_pod_label(task, STAGE, label_value(title.partition(":")[0]))
        self._give_secrets(task, title, secrets)
        for claim in self._claims:
            kubernetes.mount_pvc(task, claim, str(PVC_ROOT / claim))
        if cluster is not None:
            self._fit(task, title, cluster)
            if loads and gpu is not None and cluster.gpu_resource is not None:
                return self._with_gpus(task, gpu, cluster)
        size = SMALL if title in _SMALL | _JOBS else MEDIUM
        return self._sized(task, LARGE if loads else size)

    @property
    def _claims(self) -> list[str]:
        """Claims with data, and with models that the spec names there."""
        models = self.spec.science.models
        folders = (models.student, models.observer, models.free_form)
        found = {claim_of(ref.path) for ref in folders if isinstance(ref, FolderModel)}
        return sorted({*claims(self.spec.placement), *(claim for claim in found if claim)})

    def _loads(self, title: str) -> bool:
        """Whether the step loads a model itself."""
        place = self.spec.placement
        if title in _JOBS:
            return place.cluster is None
        stage = {WORKER: "findings", "findings": ""}.get(title, title)
        return stage in loading_stages(self.spec.science, place)

    def _image(self, title: str) -> ImageName:
        if not self._loads(title):
            return "core"
        return "train" if title in _JOBS else "vllm"

    def _sized(self, task: dsl.PipelineTask, size: Size) -> dsl.PipelineTask:
        task.set_cpu_request(size.cpu[0]).set_cpu_limit(size.cpu[1])
        return task.set_memory_request(size.memory[0]).set_memory_limit(size.memory[1])

    def _give_secrets(self, task: dsl.PipelineTask, title: str, secrets: Secrets) -> None:
        cluster = self.spec.placement.cluster or Cluster()
        entries = {
            cluster.store_access_key: "FUNDUS_R1_S3_ACCESS_KEY",
            cluster.store_secret_key: "FUNDUS_R1_S3_SECRET_KEY",
        }
        kubernetes.use_secret_as_env(task, secrets.store, entries)
        if title not in _ASKS:
            return
        keys = {name: name for name in step_variables(self.spec.placement)}
        # A server without keys needs none of them.
        kubernetes.use_secret_as_env(task, secrets.models, keys, optional=True)
        for name, source in sorted(cluster.secrets.items()):
            kubernetes.use_secret_as_env(task, source.secret, {source.key: name}, optional=True)

    def _fit(self, task: dsl.PipelineTask, title: str, cluster: Cluster) -> None:
        """What the namespace of a cluster wants of each pod."""
        kubernetes.set_security_context(
            task, run_as_user=cluster.run_as_user, run_as_group=cluster.run_as_group, run_as_non_root=True
        )
        kubernetes.add_pod_label(task, ISTIO_LABEL, str(cluster.istio_injection).lower())
        if cluster.image_pull_secrets:
            kubernetes.set_image_pull_secrets(task, list(cluster.image_pull_secrets))
        if title in _SCRATCH:
            kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit=cluster.findings.scratch)
            task.set_env_variable("TMPDIR", SCRATCH)
        if tries := TRIES.get(title, _TRIES):
            task.set_retry(tries, **_BACKOFF)

    def _with_gpus(self, task: dsl.PipelineTask, gpu: GpuPods, cluster: Cluster) -> dsl.PipelineTask:
        task.set_accelerator_type(cluster.gpu_resource).set_accelerator_limit(gpu.gpus)
        task.set_cpu_request(gpu.cpu).set_cpu_limit(gpu.cpu)
        task.set_memory_request(gpu.memory).set_memory_limit(gpu.memory)
        # Inside a loop kfp brings channels of resources to the task by this alone.
        task.register_pipeline_channels([gpu.gpus, gpu.cpu, gpu.memory])
        kubernetes.add_node_selector_json(task, gpu.nodes)
        kubernetes.add_toleration_json(task, gpu.tolerations)
        kubernetes.empty_dir_mount(
            task, "shared-memory", "/dev/shm", medium="Memory", size_limit=cluster.findings.shared_memory
        )
        if cluster.queue is not None:
            kubernetes.add_pod_label(task, QUEUE_LABEL, cluster.queue)
        return task
