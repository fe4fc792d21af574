"""Stage 7 as a TrainJob (trainer.kubeflow.org/v1alpha1), and the TrainingRuntime that it refers to.

A TrainJob says what is run and how big it is; the rest of its pods comes from the runtime. What the
API lets a job change of it (`runtimePatches`) is in the job, so that the runtime of a namespace
serves all runs. What it does not - priority class, scheduler, retries, whether there is a token - is in the
runtime, made from the same section of the spec.
"""

from __future__ import annotations

from fundus_r1.cluster.child import PREFIX, TRAINING_RUNTIME, TRAINJOB
from fundus_r1.cluster.manifests.order import Manifest, Order, shared_metadata, without_nulls
from fundus_r1.cluster.manifests.pod import CONTAINER_SECURITY, pod_security, pod_template
from fundus_r1.cluster.manifests.pytorchjob import processes_on_each, sft_pod
from fundus_r1.spec.cluster import Cluster

RUNTIME = "fundus-r1-torch"
"""Name of our TrainingRuntime, where ``placement.cluster.runtime`` names no other."""
_NODE = "node"
"""Name that the API wants for the replicated job and for its container."""
_PATCHED = (
    "volumes",
    "securityContext",
    "serviceAccountName",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "affinity",
)
"""What of a pod a TrainJob may say itself."""


def trainjob(order: Order) -> Manifest:
    """The manifest.

    Raises:
        SpecError: more than one machine, and a launcher that knows only one.
    """
    template = pod_template(order, sft_pod(order, _NODE))
    [node] = template["spec"]["containers"]
    patched = {key: template["spec"][key] for key in _PATCHED if key in template["spec"]}
    patched["containers"] = [{key: node[key] for key in ("name", "securityContext", "volumeMounts")}]
    pods = {"metadata": template["metadata"], "spec": patched}
    spec = {
        "runtimeRef": {
            "apiGroup": TRAINING_RUNTIME.group,
            "kind": TRAINING_RUNTIME.kind,
            "name": order.cluster.runtime or RUNTIME,
        },
        "trainer": {
            "image": node["image"],
            "command": node["command"],
            "env": node["env"],
            "numNodes": order.placement.sft.nodes,
            "numProcPerNode": processes_on_each(order),
            "resourcesPerNode": node["resources"],
        },
        "runtimePatches": [
            {
                "manager": PREFIX + "launcher",
                "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [_node_job(pods)]}}},
            }
        ],
        "suspend": None if order.cluster.queue is None else True,
        "activeDeadlineSeconds": order.deadline,
    }
    return order.manifest(TRAINJOB, without_nulls(spec))


def training_runtime(cluster: Cluster, image: str) -> Manifest:
    """Our TrainingRuntime of a namespace.

    Args:
        cluster: where it is to be.
        image: of its pods, which each TrainJob overrides.
    """
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": cluster.priority_class,
        "schedulerName": cluster.scheduler,
        "securityContext": pod_security(cluster),
        "containers": [{"name": _NODE, "image": image, "securityContext": CONTAINER_SECURITY}],
    }
    job = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        # A pod that fails fails its job; whether all begin again is for the set of jobs to say.
        "spec": {"backoffLimit": 0, "template": {"spec": without_nulls(pod)}},
    }
    return {
        "apiVersion": TRAINING_RUNTIME.api_version,
        "kind": TRAINING_RUNTIME.kind,
        "metadata": shared_metadata(cluster, RUNTIME),
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {
                "spec": {
                    "failurePolicy": {"maxRestarts": cluster.retries},
                    "replicatedJobs": [{"name": _NODE, "replicas": 1, "template": job}],
                }
            },
        },
    }


def _node_job(pods: Manifest) -> Manifest:
    """The patch of the pods of the only replicated job."""
    return {"name": _NODE, "template": {"spec": {"template": pods}}}
