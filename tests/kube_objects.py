"""What an API server keeps: objects with versions, their history, selectors, preconditions, owners."""

from __future__ import annotations

import copy
import datetime
import re
import threading
import uuid
from typing import Any, NamedTuple

from fundus_r1.cluster.child import Resource


class Key(NamedTuple):
    group: str
    plural: str
    namespace: str
    name: str


class Change(NamedTuple):
    """One line of a watch."""

    version: int
    kind: str
    key: Key
    item: dict[str, Any]


class StatusError(Exception):
    """What the API answers instead of an object."""

    def __init__(self, code: int, reason: str, message: str):
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": reason, "message": message, "code": code,
        }  # fmt: skip


class Objects:
    """All objects of a server. `moved` is notified of each change."""

    def __init__(self) -> None:
        self.moved = threading.Condition(threading.RLock())
        self.items: dict[Key, dict[str, Any]] = {}
        self.history: list[Change] = []
        self.version = 100
        self.oldest = 0
        """Versions before this one are forgotten."""

    def _record(self, kind: str, key: Key, item: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, kind, key, copy.deepcopy(item)))
        self.moved.notify_all()
        return copy.deepcopy(item)

    def compact(self) -> None:
        """Forgets the history: a watch from an older version is answered by 410."""
        with self.moved:
            self.version += 1
            self.oldest = self.version
            self.history.clear()

    def find(self, key: Key) -> dict[str, Any]:
        if key not in self.items:
            raise StatusError(404, "NotFound", f'{key.plural} "{key.name}" not found')
        return self.items[key]

    def choose(
        self, group: str, plural: str, namespace: str, labels: str, fields: str
    ) -> list[dict[str, Any]]:
        with self.moved:
            return [
                copy.deepcopy(item)
                for key, item in sorted(self.items.items())
                if (key.group, key.plural) == (group, plural)
                and namespace in ("", key.namespace)
                and selected(item, labels, fields)
            ]

    def create(self, resource: Resource, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        item = copy.deepcopy(manifest)
        meta = item.setdefault("metadata", {})
        name = meta.setdefault("name", meta.get("generateName", "") + uuid.uuid4().hex[:5])
        key = Key(resource.group, resource.plural, namespace, name)
        with self.moved:
            if key in self.items:
                raise StatusError(409, "AlreadyExists", f'{key.plural} "{name}" already exists')
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 1}
            meta["managedFields"] = [{"manager": "test", "operation": "Update"}]
            if namespace:
                meta["namespace"] = namespace
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
            self.items[key] = item
            return self._record("ADDED", key, item)

    def patch(self, key: Key, patch: dict[str, Any]) -> dict[str, Any]:
        with self.moved:
            item = self.find(key)
            for field in ("resourceVersion", "uid"):
                wanted = patch.get("metadata", {}).get(field)
                if wanted and wanted != item["metadata"][field]:
                    raise StatusError(409, "Conflict", f"the object has another {field}")
            merged = merge(item, patch)
            for fixed in ("uid", "name"):
                merged["metadata"][fixed] = item["metadata"][fixed]
            self.items[key] = merged
            return self._record("MODIFIED", key, merged)

    def delete(self, key: Key, conditions: dict[str, str]) -> dict[str, Any]:
        with self.moved:
            item = self.find(key)
            for field, wanted in conditions.items():
                if item["metadata"][field] != wanted:
                    raise StatusError(409, "Conflict", f"the {field} in the precondition is another")
            del self.items[key]
            gone = self._record("DELETED", key, item)
            self._collect(item["metadata"]["uid"])
            return gone

    def _collect(self, owner: str) -> None:
        """What only the deleted object owned goes too."""
        alive = {item["metadata"]["uid"] for item in self.items.values()}
        for key, item in list(self.items.items()):
            owners = [ref["uid"] for ref in item["metadata"].get("ownerReferences", ())]
            if owner in owners and not alive.intersection(owners):
                self.delete(key, {})


def merge(item: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(item) if isinstance(item, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return copy.deepcopy(merged)


def selected(item: dict[str, Any], labels: str, fields: str) -> bool:
    """Whether a label selector and a field selector choose the object."""
    own = item["metadata"].get("labels") or {}
    found = all(_label(term.strip(), own) for term in re.split(r",(?![^(]*\))", labels) if term)
    for term in fields.split(","):
        path, unequal, value = re.match(r"([^=!]*)(!?)=?=?(.*)", term).groups()  # type: ignore[union-attr]
        if path:
            at: Any = item
            for step in path.split("."):
                at = (at or {}).get(step)
            found = found and ((at or "") == value) != bool(unequal)
    return found


def _label(term: str, own: dict[str, str]) -> bool:
    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", term):
        name, how, values = match.groups()
        return (own.get(name) in [value.strip() for value in values.split(",")]) == (how == "in")
    if "!=" in term:
        name, value = term.split("!=")
        return own.get(name) != value
    if "=" in term:
        name, value = re.split("==?", term)
        return own.get(name) == value
    return (term.lstrip("!") in own) != term.startswith("!")
