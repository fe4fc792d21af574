"""The objects of the namespace that a run's pods refer to: secrets, claims, accounts, classes.

Of a Secret only the names of its entries are looked at; no value leaves the function that fetched it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fundus_r1.cluster.check import Check
from fundus_r1.cluster.child import TRAINING_RUNTIME, Resource
from fundus_r1.cluster.client import Cluster
from fundus_r1.spec import RunSpec
from fundus_r1.spec.cluster import Cluster as ClusterPlace
from fundus_r1.spec.models import FolderModel
from fundus_r1.spec.places import claim_of

SECRETS = Resource("", "v1", "secrets", "Secret")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
PRIORITIES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
_MANY = "ReadWriteMany"


def secrets(cluster: Cluster, place: ClusterPlace) -> list[Check]:
    """Whether the Secrets are there, with the entries that pods take from them."""
    entries: dict[str, set[str]] = {place.store_secret: {place.store_access_key, place.store_secret_key}}
    for kept in place.secrets.values():
        entries.setdefault(kept.secret, set()).add(kept.key)
    for name in place.image_pull_secrets:
        entries.setdefault(name, set())
    return [_secret(cluster, name, sorted(keys)) for name, keys in entries.items()]


def _secret(cluster: Cluster, name: str, keys: list[str]) -> Check:
    what, needed = f"secret {name}", "entries " + " ".join(keys) if keys else "there"
    if not cluster.allowed("get", SECRETS, name=name)[0]:
        todo = "look by hand: kubectl describe secret shows the names of its entries"
        return Check(what, needed, "these credentials may not look at it", None, todo)
    secret = cluster.get(SECRETS, name)
    if secret is None:
        options = " ".join(f"--from-literal={key}=..." for key in keys)
        return Check(
            what, needed, "not there", False, f"kubectl create secret generic {name} {options}".strip()
        )
    missing = sorted(set(keys) - set(secret.get("data") or ()))
    if missing:
        return Check(what, needed, f"lacks {' '.join(missing)}", False, "add them, or name other entries")
    return Check(what, needed, "there", True)


def claim_names(spec: RunSpec) -> list[str]:
    """The PersistentVolumeClaims that a run's pods mount."""
    found = [claim_of(place) for place in _places(spec)]
    if spec.placement.cluster is not None:
        found.append(spec.placement.cluster.shared_claim)
    return list(dict.fromkeys(name for name in found if name is not None))


def claims(cluster: Cluster, names: Iterable[str], shared: str | None) -> list[Check]:
    """Whether the volumes are there; `shared` must be one that many nodes may mount."""
    return [_claim(cluster, name, many=name == shared) for name in names]


def _places(spec: RunSpec) -> Iterator[str]:
    models = spec.science.models
    yield from spec.placement.data
    for ref in (models.student, models.observer, models.free_form, spec.science.knowledge.embedder):
        if isinstance(ref, FolderModel):
            yield ref.path


def _claim(cluster: Cluster, name: str, *, many: bool) -> Check:
    what, needed = f"claim {name}", f"bound, {_MANY}" if many else "bound"
    claim = cluster.get(CLAIMS, name)
    if claim is None:
        return Check(what, needed, "not there", False, "make the PersistentVolumeClaim, or name another")
    phase = (claim.get("status") or {}).get("phase") or "Pending"
    modes = (claim.get("spec") or {}).get("accessModes") or []
    found = f"{phase.lower()}, {' '.join(modes)}"
    if many and _MANY not in modes:
        return Check(what, needed, found, False, f"make it of a storage class that offers {_MANY}")
    if phase == "Pending":
        todo = "kubectl describe pvc says why; it may only wait for its first pod"
        return Check(what, needed, found, None, todo)
    return Check(what, needed, found, phase == "Bound", "" if phase == "Bound" else "make it anew")


def account(cluster: Cluster, name: str) -> list[Check]:
    """Whether the pods' service account is there."""
    return [_there(f"service account {name}", cluster.get(ACCOUNTS, name), "make it, or name another")]


def priority(cluster: Cluster, name: str) -> list[Check]:
    """Whether the pods' priority class is there."""
    found = by_name(cluster, PRIORITIES, name)
    return [_there(f"priority class {name}", found, "name one of: kubectl get priorityclasses")]


def runtime(cluster: Cluster, name: str) -> list[Check]:
    """Whether the TrainingRuntime is there to which a TrainJob refers."""
    todo = "kubectl apply the one that fundus-r1 plan --manifests writes"
    return [_there(f"runtime {name}", cluster.get(TRAINING_RUNTIME, name), todo)]


def by_name(cluster: Cluster, resource: Resource, name: str) -> dict[str, Any] | None:
    """An object that is in no namespace."""
    found, _ = cluster.list(resource, fields=f"metadata.name={name}", everywhere=True)
    return found[0] if found else None


def _there(what: str, found: dict[str, Any] | None, todo: str) -> Check:
    there = found is not None
    return Check(what, "there", "there" if there else "not there", there, "" if there else todo)
