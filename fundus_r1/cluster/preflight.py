"""Whether a namespace has all that a run's jobs and steps need, looked at before any GPU is asked for.

Nothing is made or changed. Each look stands alone: one that fails is a row of the table, and the next is
done. Only where the API server does not answer at all the rest is left out, since it would only wait.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fundus_r1.cluster.check import Check, looked
from fundus_r1.cluster.child import TRAINING_RUNTIME, TRAINJOB, Resource
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.manifests.trainjob import RUNTIME
from fundus_r1.cluster.needs import PodGroup, groups_of, job_stages, step_groups
from fundus_r1.cluster.preflight_nodes import blocks, room
from fundus_r1.cluster.preflight_objects import (
    ACCOUNTS,
    CLAIMS,
    PRIORITIES,
    account,
    claim_names,
    claims,
    priority,
    runtime,
    secrets,
)
from fundus_r1.cluster.preflight_quota import LIMITS, LOCAL_QUEUES, QUOTAS, limits, queue, quotas
from fundus_r1.cluster.preflight_rights import kinds, rights
from fundus_r1.errors import ClusterError, SpecError
from fundus_r1.spec import RunSpec
from fundus_r1.spec.cluster import Cluster as ClusterPlace

_PATIENCE_S = 10.0


def check_cluster(cluster: Cluster, spec: RunSpec) -> list[Check]:
    """What of a run's needs the cluster has.

    Args:
        cluster: the namespace in which the run's jobs are made.
        spec: with ``placement.cluster``.

    Returns:
        Rows of a table, in the order in which they are best mended.
    """
    near = cluster.apart(_PATIENCE_S)
    place = spec.placement.cluster or ClusterPlace()
    what, needed = "API server", "answers"
    try:
        version = near.version()
    except ClusterError as error:
        rest = Check("all else of the cluster", "there", "not looked at", False, "mend that first")
        return [Check(what, needed, f"{error.what} ({error.where})", False, error.hint), rest]
    checks = [Check(what, needed, f"{version}, namespace {near.namespace}", True)]
    stages, made = _groups(spec)
    checks += made
    used: list[Resource] = []

    def look_at_kinds() -> list[Check]:
        found, served = kinds(near, spec.placement, job_stages(spec))
        used.extend(served)
        return found

    checks += looked("kinds of jobs", "served", look_at_kinds)
    checks += looked("rights", "of launcher and reaper", lambda: rights(near, used))
    checks += looked("secrets", "there", lambda: secrets(near, place))
    if TRAINJOB in used:
        look = partial(runtime, near, place.runtime or RUNTIME)
        checks += _allowed(near, "runtime", "there", look, "get", TRAINING_RUNTIME)
    if place.service_account is not None:
        look = partial(account, near, place.service_account)
        checks += _allowed(near, "service account", "there", look, "get", ACCOUNTS)
    if named := claim_names(spec):
        look = partial(claims, near, named, place.shared_claim)
        checks += _allowed(near, "claims", "bound", look, "get", CLAIMS)
    if place.priority_class is not None:
        look = partial(priority, near, place.priority_class)
        checks += _allowed(near, "priority class", "there", look, "list", PRIORITIES, everywhere=True)
    if place.queue is not None:
        look = partial(queue, near, place.queue)
        checks += _allowed(near, f"queue {place.queue}", "active", look, "get", LOCAL_QUEUES[0])
    checks += _allowed(near, "quotas", "leave room", partial(quotas, near, stages), "list", QUOTAS)
    checks += _allowed(near, "limits", "let pods be so large", partial(limits, near, stages), "list", LIMITS)
    return checks + looked("nodes", "places for pods", lambda: _places(near, place, stages))


def _allowed(
    cluster: Cluster,
    what: str,
    needed: str,
    look: Callable[[], list[Check]],
    verb: str,
    resource: Resource,
    *,
    everywhere: bool = False,
) -> list[Check]:
    """What a look finds; what these credentials may not look at is a warning, since it may well be there."""

    def try_it() -> list[Check]:
        if cluster.allowed(verb, resource, everywhere=everywhere)[0]:
            return look()
        todo = f"look by hand, or let them {verb} {resource.plural}"
        return [Check(what, needed, "these credentials may not look at it", None, todo)]

    return looked(what, needed, try_it)


def _groups(spec: RunSpec) -> tuple[dict[str, list[PodGroup]], list[Check]]:
    """The pods of each stage; a row for each job that the placement does not allow."""
    stages: dict[str, list[PodGroup]] = {}
    checks = []
    for group in step_groups(spec):
        stages.setdefault(group.stage, []).append(group)
    for stage in job_stages(spec):
        try:
            stages[stage] = groups_of(spec, stage)
        except SpecError as error:
            checks.append(Check(f"{stage}: its job", "can be made", error.what, False, error.hint))
    return stages, checks


def _places(cluster: Cluster, place: ClusterPlace, stages: dict[str, list[PodGroup]]) -> list[Check]:
    found = room(cluster)
    return [
        blocks(found, group, queued=place.queue is not None) for groups in stages.values() for group in groups
    ]
