"""Room that the namespace leaves a run: its quotas, the limits of a pod, and Kueue's queue.

What could never fit is missing; what is only taken by others now is a warning, since a job may wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from fundus_r1.cluster.check import Check
from fundus_r1.cluster.child import Resource
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.needs import Amounts, PodGroup, shown
from fundus_r1.cluster.preflight_objects import by_name
from fundus_r1.spec.kubernetes import amount

QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMITS = Resource("", "v1", "limitranges", "LimitRange")
_KUEUE = ("v1beta2", "v1beta1")
LOCAL_QUEUES = tuple(Resource("kueue.x-k8s.io", each, "localqueues", "LocalQueue") for each in _KUEUE)
CLUSTER_QUEUES = tuple(Resource("kueue.x-k8s.io", each, "clusterqueues", "ClusterQueue") for each in _KUEUE)
_LESS = "ask for less in placement.cluster, or have it raised"


def quotas(cluster: Cluster, stages: Mapping[str, Sequence[PodGroup]]) -> list[Check]:
    """Each stage's need against the namespace's quotas."""
    checks = []
    for quota in cluster.list(QUOTAS)[0]:
        status = quota.get("status") or {}
        hard = {k: amount(v) for k, v in (status.get("hard") or quota["spec"].get("hard") or {}).items()}
        used = {k: amount(v) for k, v in (status.get("used") or {}).items()}
        # A quota with scopes counts only some pods; whether ours are among them is not judged here.
        scoped = bool(quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"))
        for stage, groups in stages.items():
            least = _totals([replace(group, count=group.least) for group in groups])
            checks += _quota(quota["metadata"]["name"], stage, least, _totals(groups), hard, used, scoped)
    return checks


def limits(cluster: Cluster, stages: Mapping[str, Sequence[PodGroup]]) -> list[Check]:
    """Each stage's pods against the most that the namespace lets one pod or container have."""
    checks = []
    for limit in cluster.list(LIMITS)[0]:
        for rule in limit["spec"].get("limits") or ():
            if rule.get("type") not in ("Container", "Pod"):
                continue
            for stage, groups in stages.items():
                checks += _limit(limit["metadata"]["name"], rule, stage, groups)
    return checks


def queue(cluster: Cluster, name: str) -> list[Check]:
    """Whether the LocalQueue is there, and lets jobs in."""
    what, needed = f"queue {name}", "a LocalQueue that is active"
    version = next((each for each in LOCAL_QUEUES if cluster.served(each)), None)
    if version is None:
        return [
            Check(
                what, needed, "kind LocalQueue is not served", False, "have Kueue installed, or name no queue"
            )
        ]
    found = cluster.get(version, name)
    if found is None:
        names = ", ".join(each["metadata"]["name"] for each in cluster.list(version)[0])
        todo = f"the namespace has: {names}" if names else "have one made in this namespace"
        return [Check(what, needed, "not there", False, todo)]
    behind = (found.get("spec") or {}).get("clusterQueue", "")
    checks = [_active(what, needed, found)]
    above = next((each for each in CLUSTER_QUEUES if cluster.served(each)), None)
    if above is not None and cluster.allowed("list", above, everywhere=True)[0]:
        of_cluster = by_name(cluster, above, behind)
        row = f"cluster queue {behind}"
        if of_cluster is None:
            checks.append(Check(row, "active", "not there", False, "have it made, or name another queue"))
        else:
            checks.append(_active(row, "active", of_cluster))
    return checks


def _totals(groups: Sequence[PodGroup]) -> Amounts:
    """What a stage's pods come to, by the names that quotas use."""
    total: Amounts = {"pods": Decimal(sum(group.count for group in groups))}
    for group in groups:
        for name, quantity in group.asks.items():
            whole = amount(quantity) * group.count
            # Our pods request what they are limited to.
            for key in (
                f"requests.{name}",
                f"limits.{name}",
                *((name,) if name in ("cpu", "memory") else ()),
            ):
                total[key] = total.get(key, Decimal()) + whole
    return total


def _quota(
    name: str, stage: str, least: Amounts, need: Amounts, hard: Amounts, used: Amounts, scoped: bool
) -> list[Check]:
    never = {key: need[key] for key in need if key in hard and least[key] > hard[key]}
    now = {key: need[key] for key in need if key in hard and need[key] > hard[key] - used.get(key, Decimal())}
    what = f"{stage}: quota {name}"
    short = never or now
    if not short:
        watched = " ".join(key for key in need if key in hard)
        return [Check(what, watched, "leaves room", True)] if watched else []
    needed = ", ".join(f"{shown(value)} {key}" for key, value in short.items())
    found = ", ".join(f"{shown(hard[key])} in all, {shown(used.get(key, Decimal()))} used" for key in short)
    if never:
        return [Check(what, needed, found, None if scoped else False, _LESS)]
    return [Check(what, needed, found, None, "wait for others to end, or have it raised")]


def _limit(name: str, rule: Mapping[str, Any], stage: str, groups: Sequence[PodGroup]) -> list[Check]:
    checks = []
    for bound, wrong in (("max", lambda ask, at: ask > at), ("min", lambda ask, at: ask < at)):
        for resource, quantity in (rule.get(bound) or {}).items():
            for group in groups:
                asked = group.asks.get(resource)
                if asked is not None and wrong(amount(asked), amount(quantity)):
                    what = f"{stage}: limit {name}"
                    found = f"{bound} {quantity} for a {rule['type'].lower()}"
                    checks.append(Check(what, f"{asked} {resource}", found, False, _LESS))
    return list(dict.fromkeys(checks))


def _active(what: str, needed: str, item: dict[str, Any]) -> Check:
    conditions = (item.get("status") or {}).get("conditions") or ()
    active = next((c for c in conditions if c.get("type") == "Active"), None)
    if active is None:
        return Check(what, needed, "there, and says nothing of its state", None, "does Kueue run?")
    said = active.get("message") or active.get("reason") or ""
    if active.get("status") == "True":
        return Check(what, needed, "active", True)
    return Check(
        what, needed, f"not active: {said}", False, "kubectl describe it; its flavors may be missing"
    )
