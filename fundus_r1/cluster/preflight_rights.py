"""What the API server must serve and allow: the kinds of a run's jobs, and each verb that is used on them."""

from __future__ import annotations

from collections.abc import Sequence

from fundus_r1.cluster.check import Check
from fundus_r1.cluster.child import (
    EVENTS,
    JOBS,
    PODS,
    PYTORCHJOB,
    RAYJOB,
    TRAINING_RUNTIME,
    TRAINJOB,
    WORKFLOW,
    WORKLOAD,
    Resource,
)
from fundus_r1.cluster.client import Cluster
from fundus_r1.spec.placement import Placement

_JOB_VERBS = ("get", "list", "watch", "create", "patch", "delete")
_RIGHTS = (
    (PODS, "", ("get", "list", "watch")),
    (PODS, "log", ("get",)),
    (EVENTS, "", ("list", "create")),
)
_OPERATORS = {
    PYTORCHJOB: "Kubeflow's Training Operator (v1)",
    TRAINJOB: "Kubeflow Trainer (v2)",
    TRAINING_RUNTIME: "Kubeflow Trainer (v2)",
    RAYJOB: "KubeRay",
}


def kinds(
    cluster: Cluster, placement: Placement, stages: Sequence[str]
) -> tuple[list[Check], list[Resource]]:
    """Whether the kinds of the jobs are served; and the kinds that will be used, as far as they are."""
    checks: list[Check] = []
    used: list[Resource] = []

    def demand(stage: str, *wanted: Resource) -> None:
        for resource in wanted:
            served = cluster.served(resource)
            used.extend([resource] if served else [])
            checks.append(_kind(stage, resource, served))

    if "sft" in stages and placement.trainer_api == "auto":
        found = [resource for resource in (PYTORCHJOB, TRAINJOB) if cluster.served(resource)]
        used += found[:1]
        checks.append(_either(found))
    elif "sft" in stages:
        demand("sft", *((PYTORCHJOB,) if placement.trainer_api == "pytorchjob" else (TRAINJOB,)))
    if TRAINJOB in used:
        demand("sft", TRAINING_RUNTIME)
    if "grpo" in stages:
        demand("grpo", RAYJOB)
    if placement.cluster is not None and placement.cluster.queue is not None:
        if cluster.served(WORKLOAD):
            used.append(WORKLOAD)
        else:
            todo = "a job that waits will not say what for: have Kueue serve this version"
            checks.append(Check("kind Workload", WORKLOAD.api_version, "not served", None, todo))
    if not cluster.served(WORKFLOW):
        todo = "needed by runs of the pipeline only: have Kubeflow Pipelines installed"
        checks.append(Check("kind Workflow", WORKFLOW.api_version, "not served", None, todo))
    return checks, used


def rights(cluster: Cluster, used: Sequence[Resource]) -> list[Check]:
    """Whether these credentials may do all that launcher and reaper do; one row a resource."""
    jobs = [(resource, "", _JOB_VERBS) for resource in used if resource in JOBS]
    checks = [_rights(cluster, *asked) for asked in (*jobs, *_RIGHTS)]
    # Only the pipeline has Workflows; and without Kueue's view a job that waits does not say why.
    checks.append(_rights(cluster, WORKFLOW, "", ("get",), vital=cluster.served(WORKFLOW)))
    if WORKLOAD in used:
        checks.append(_rights(cluster, WORKLOAD, "", ("list",), vital=False))
    return checks


def _kind(stage: str, resource: Resource, served: bool) -> Check:
    return Check(
        f"{stage}: kind {resource.kind}",
        resource.api_version,
        "served" if served else "not served",
        served,
        "" if served else f"have {_OPERATORS[resource]} installed, in a version that has it",
    )


def _either(found: Sequence[Resource]) -> Check:
    return Check(
        "sft: kind PyTorchJob or TrainJob",
        f"{PYTORCHJOB.api_version} or {TRAINJOB.api_version}",
        f"{found[0].kind} is served" if found else "neither is served",
        bool(found),
        "" if found else f"have {_OPERATORS[PYTORCHJOB]} or {_OPERATORS[TRAINJOB]} installed",
    )


def _rights(
    cluster: Cluster, resource: Resource, subresource: str, verbs: Sequence[str], *, vital: bool = True
) -> Check:
    missing = [verb for verb in verbs if not cluster.allowed(verb, resource, subresource=subresource)[0]]
    name = f"{resource.plural}/{subresource}" if subresource else resource.plural
    rule = f'apiGroups: ["{resource.group}"], resources: ["{name}"], verbs: {list(verbs)}'
    return Check(
        f"rights on {name}",
        " ".join(verbs),
        f"not {' '.join(missing)}" if missing else "all",
        True if not missing else False if vital else None,
        f"bind a Role with the rule {{{rule}}}".replace("'", '"') if missing else "",
    )
