"""Room on the nodes: as many places as a stage has pods, each with all that one pod asks for.

A pod's GPUs must be on one node, so a sum over nodes says nothing. What could never fit is missing; what is
only taken by others now is a warning, since a job may wait. Behind a queue nodes may be made on demand, so
there a lack of them is a warning too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fundus_r1.cluster.check import Check
from fundus_r1.cluster.child import PODS, Resource
from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.needs import Amounts, PodGroup, shown
from fundus_r1.spec.kubernetes import amount

NODES = Resource("", "v1", "nodes", "Node")
_BLOCKING = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Room:
    """What the nodes have."""

    nodes: list[dict[str, Any]]
    free: dict[str, Amounts]
    """Node -> what no pod has asked for; empty if pods of others may not be looked at."""


def room(cluster: Cluster) -> Room | None:
    """The nodes and what is free on them; None if these credentials may not look at nodes."""
    if not cluster.allowed("list", NODES, everywhere=True)[0]:
        return None
    nodes = [node for node in cluster.list(NODES, everywhere=True)[0] if _open(node)]
    if not cluster.allowed("list", PODS, everywhere=True)[0]:
        return Room(nodes, {})
    pods = cluster.list(PODS, fields="status.phase!=Succeeded,status.phase!=Failed", everywhere=True)[0]
    free = {node["metadata"]["name"]: _allocatable(node) for node in nodes}
    for pod in pods:
        left = free.get((pod.get("spec") or {}).get("nodeName") or "", {})
        for name, asked in _asked(pod).items():
            left[name] = left.get(name, Decimal()) - asked
    return Room(nodes, free)


def blocks(found: Room | None, group: PodGroup, *, queued: bool) -> Check:
    """Whether the nodes have as many places for a pod as the group has pods."""
    what = f"{group.stage}: places for pods"
    needed = f"{group.count} x {group.told}"
    if found is None:
        todo = "have somebody look who may list nodes"
        return Check(what, needed, "these credentials may not look at nodes", None, todo)
    asks = {name: amount(quantity) for name, quantity in group.asks.items()}
    fitting = [node for node in found.nodes if _takes(node, group)]
    ever = {node["metadata"]["name"]: _times(_allocatable(node), asks) for node in fitting}
    if sum(ever.values()) < group.least:
        lack, todo = _lack(found, fitting, ever, asks), _todo(found, group, fitting)
        return Check(what, needed, lack, None if queued else False, todo)
    if not found.free:
        said = f"{sum(ever.values())} on {_count(ever)}, free or not"
        return Check(what, needed, said, True if sum(ever.values()) >= group.count else None)
    now = {name: _times(found.free[name], asks) for name in ever}
    said = f"{sum(now.values())} free on {_count(now)}, {sum(ever.values())} in all"
    if sum(now.values()) < group.count:
        return Check(what, needed, said, None, "some pods wait until others have ended")
    return Check(what, needed, said, True)


def _open(node: dict[str, Any]) -> bool:
    """Whether new pods may come to a node that is well."""
    if (node.get("spec") or {}).get("unschedulable"):
        return False
    conditions = (node.get("status") or {}).get("conditions") or ()
    return all(c.get("status") == "True" for c in conditions if c.get("type") == "Ready")


def _takes(node: dict[str, Any], group: PodGroup) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in group.selector.items()):
        return False
    taints = [t for t in (node.get("spec") or {}).get("taints") or () if t.get("effect") in _BLOCKING]
    return all(any(_tolerates(each, taint) for each in group.tolerations) for taint in taints)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, taint.get("key"))
    return (toleration.get("key"), toleration.get("value") or "") == (
        taint.get("key"),
        taint.get("value") or "",
    )


def _allocatable(node: dict[str, Any]) -> Amounts:
    found = (node.get("status") or {}).get("allocatable") or {}
    return {name: amount(quantity) for name, quantity in found.items()}


def _asked(pod: dict[str, Any]) -> Amounts:
    """What a pod keeps from others: its containers together, or its largest init container."""
    spec = pod.get("spec") or {}
    total: Amounts = {}
    for container in spec.get("containers") or ():
        for name, quantity in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = total.get(name, Decimal()) + amount(quantity)
    for container in spec.get("initContainers") or ():
        for name, quantity in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = max(total.get(name, Decimal()), amount(quantity))
    return total


def _times(has: Amounts, asks: Amounts) -> int:
    """How many such pods fit."""
    return max(0, min((int(has.get(name, Decimal()) // ask) for name, ask in asks.items() if ask), default=0))


def _lack(found: Room, fitting: Sequence[dict[str, Any]], ever: Mapping[str, int], asks: Amounts) -> str:
    if not found.nodes:
        return "no node that is ready"
    if not fitting:
        return f"none of {len(found.nodes)} nodes has these labels and taints"
    if sum(ever.values()):
        return f"{sum(ever.values())} on {_count(ever)}"
    most = {name: max(_allocatable(node).get(name, Decimal()) for node in fitting) for name in asks}
    short = [name for name, ask in asks.items() if most[name] < ask]
    return "at most " + ", ".join(f"{shown(most[name])} {name}" for name in short or asks) + " on a node"


def _todo(found: Room, group: PodGroup, fitting: Sequence[dict[str, Any]]) -> str:
    if not found.nodes:
        return "have nodes added"
    if not fitting and (group.selector or group.tolerations):
        return "correct node_selector and tolerations in placement.cluster, or have nodes added"
    return "ask for less in placement, tolerate the nodes' taints, or have nodes added"


def _count(by_node: Mapping[str, int]) -> str:
    having = sum(count > 0 for count in by_node.values())
    return f"{having} node{'' if having == 1 else 's'}"
