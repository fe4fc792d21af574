"""One small client of the Kubernetes API: objects are plain dicts, as the API gives them.

What can be repeated is repeated (`connection`), then given up as `ClusterError`. An answer that the caller
has to decide about is an exception of its own: `Exists`, `Changed`, `Gone`. A watch and a log end where
their connection ends; whoever reads them goes on from what was read last.
"""

from __future__ import annotations

import datetime
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fundus_r1.cluster.child import EVENTS, MANAGER, PODS, Resource
from fundus_r1.cluster.connection import READ_S, Connection, RefusalError, explained
from fundus_r1.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

# A watch says something at least once a minute (bookmarks), and ends when its time is over.
_SILENCE_S = 15.0
_PAGE = 250
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")


class Exists(Exception):  # noqa: N818 - an answer, not a fault
    """An object of this name is there already. Always caught by the caller."""


class Changed(Exception):  # noqa: N818 - an answer, not a fault
    """The object is no longer the one (or of the version) that was named. Always caught by the caller."""


class Gone(Exception):  # noqa: N818 - an answer, not a fault
    """The version to watch from is too old: list again. Always caught by the caller."""


class Cluster:
    """One namespace of one API server; threads may share it.

    Args:
        configuration: address and credentials, as the Kubernetes client has loaded them.
        namespace: of all objects that are named.
        patience_s: seconds for which what can be repeated is repeated.
    """

    def __init__(self, configuration: Configuration, namespace: str, patience_s: float = 60.0):
        self.namespace = namespace
        self._connection = Connection(configuration, patience_s)

    @classmethod
    def connect(cls, namespace: str | None = None) -> Cluster:
        """The cluster that KUBECONFIG names, else that of this pod, else that of the user's own kubeconfig.

        Args:
            namespace: None takes that of the pod, or of the kubeconfig's context.

        Raises:
            ClusterError: there is no configuration, or none that can be used.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        named = os.environ.get("KUBECONFIG")
        file = named or "~/.kube/config"
        try:
            if not named and os.environ.get("KUBERNETES_SERVICE_HOST"):
                config.load_incluster_config(client_configuration=configuration)
                own = (_SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
            else:
                config.load_kube_config(file, client_configuration=configuration)
                own = config.list_kube_config_contexts(file)[1]["context"].get("namespace") or "default"
        except (config.ConfigException, OSError) as error:
            raise ClusterError(
                f"No Kubernetes cluster is known here: {error}",
                where=file,
                hint="set KUBECONFIG to a kubeconfig, or run this in a pod with a service account",
            ) from error
        return cls(configuration, namespace or own)

    def apart(self, patience_s: float) -> Cluster:
        """The same with connections and a patience of its own."""
        return Cluster(self._connection.configuration, self.namespace, patience_s)

    def get(self, resource: Resource, name: str) -> dict[str, Any] | None:
        """An object, or None if there is none."""
        try:
            return _slim(self._connection.send("GET", self._path(resource, name)))
        except RefusalError as refusal:
            if refusal.status == 404 and refusal.kubernetes:
                return None
            raise self._error(refusal, "get", resource, name) from refusal

    def list(
        self, resource: Resource, *, labels: str = "", fields: str = "", everywhere: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects that the selectors choose, and the version to watch from.

        Args:
            labels: label selector.
            fields: field selector.
            everywhere: of all namespaces, or of a kind that is in none.
        """
        path = self._path(resource, everywhere=everywhere)
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(_PAGE)}
        items: list[dict[str, Any]] = []
        while True:
            try:
                page = self._connection.send("GET", path, query)
            except RefusalError as refusal:
                if refusal.status == 410 and "continue" in query:
                    del query["continue"]
                    items.clear()  # the pages' version is too old: from the first page again
                    continue
                raise self._error(refusal, "list", resource) from refusal
            items += (_slim(item) for item in page.get("items") or ())
            more = page["metadata"].get("continue")
            if not more:
                return items, page["metadata"].get("resourceVersion", "")
            query["continue"] = more

    def create(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        """Makes an object.

        Raises:
            Exists: there is one of this name; it may come from a first try whose answer was lost.
        """
        try:
            return _slim(self._connection.send("POST", self._path(resource), body=manifest))
        except RefusalError as refusal:
            name = manifest["metadata"].get("name", "")
            if refusal.status == 409:
                raise Exists(name) from None
            raise self._error(refusal, "create", resource, name) from refusal

    def patch(self, resource: Resource, name: str, patch: dict[str, Any]) -> dict[str, Any] | None:
        """Changes an object by a JSON merge patch; a `resourceVersion` in it must be the object's own.

        Returns:
            The object as it is now, or None if there is none.

        Raises:
            Changed: the object has another version.
        """
        try:
            return _slim(self._connection.send("PATCH", self._path(resource, name), body=patch))
        except RefusalError as refusal:
            if refusal.status == 404 and refusal.kubernetes:
                return None
            if refusal.status == 409:
                raise Changed(name) from None
            raise self._error(refusal, "patch", resource, name) from refusal

    def delete(
        self, resource: Resource, name: str, *, uid: str | None = None, version: str | None = None
    ) -> bool:
        """Removes an object; what it owns is removed in the background.

        Args:
            uid: only if it is this very object.
            version: only if nothing has changed it since.

        Returns:
            Whether there was one.

        Raises:
            Changed: there is one, but another.
        """
        conditions = {key: value for key, value in (("uid", uid), ("resourceVersion", version)) if value}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            **({"preconditions": conditions} if conditions else {}),
        }
        try:
            self._connection.send("DELETE", self._path(resource, name), body=options)
        except RefusalError as refusal:
            if refusal.status == 404 and refusal.kubernetes:
                return False
            if refusal.status == 409:
                raise Changed(name) from None
            raise self._error(refusal, "delete", resource, name) from refusal
        return True

    def watch(
        self, resource: Resource, version: str, *, labels: str = "", fields: str = "", timeout_s: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens to objects: ``ADDED``, ``MODIFIED``, ``DELETED``; ``BOOKMARK`` has a version alone.

        Ends when its time is over or the connection is lost.

        Args:
            version: what happened after it.
            labels: label selector.
            fields: field selector.
            timeout_s: seconds after which the server ends it.

        Raises:
            Gone: the version is too old.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "labelSelector": labels,
            "fieldSelector": fields,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(timeout_s))),
        }
        try:
            for line in self._connection.stream(self._path(resource), query, timeout_s + _SILENCE_S):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RefusalError(event["object"].get("code", 500), event["object"])
                yield event["type"], _slim(event["object"])
        except RefusalError as refusal:
            if refusal.status == 410:
                raise Gone(version) from None
            raise self._error(refusal, "watch", resource) from refusal

    def logs(
        self,
        pod: str,
        container: str,
        *,
        since: str | None = None,
        follow: bool = False,
        tail: int | None = None,
    ) -> Iterator[str]:
        """Lines of a container's log, each with its time in front; asked for once, never repeated.

        Ends with the log or with the connection; a line that was cut off by it is left out.

        Args:
            since: RFC 3339; the API server drops fractions of seconds.
            follow: goes on while the container runs.
            tail: of the log so far, the last lines only.

        Raises:
            ClusterError: there is no log (yet).
        """
        query = {"container": container, "timestamps": "true", "sinceTime": since or ""}
        if follow:
            query["follow"] = "true"
        if tail is not None:
            query["tailLines"] = str(tail)
        path = f"{self._path(PODS, pod)}/log"
        try:
            # A container may be silent for hours.
            for line in self._connection.stream_once(path, query, None if follow else READ_S):
                yield line.decode(errors="replace")
        except RefusalError as refusal:
            raise self._error(refusal, "get", PODS, f"{pod}/log") from refusal

    def allowed(
        self,
        verb: str,
        resource: Resource,
        *,
        subresource: str = "",
        name: str = "",
        everywhere: bool = False,
    ) -> tuple[bool, str]:
        """Whether these credentials may do so, and the server's reason, if it gives one.

        Args:
            verb: ``get``, ``list`` and such.
            resource: the kind.
            subresource: of it, such as ``log``.
            name: of one object; empty asks for all of them.
            everywhere: in all namespaces, or of a kind that is in none.
        """
        asked = {
            "namespace": "" if everywhere else self.namespace,
            "verb": verb,
            "group": resource.group,
            "version": resource.version,
            "resource": resource.plural,
            "subresource": subresource,
            "name": name,
        }
        review = {
            "apiVersion": _REVIEWS.api_version,
            "kind": _REVIEWS.kind,
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        try:
            status = self._connection.send("POST", self._path(_REVIEWS, everywhere=True), body=review)[
                "status"
            ]
        except RefusalError as refusal:
            raise self._error(refusal, "create", _REVIEWS) from refusal
        return bool(status.get("allowed")), status.get("reason", "")

    def served(self, resource: Resource) -> bool:
        """Whether the server knows the kind, in this version."""
        try:
            found = self._connection.send("GET", _root(resource))
        except RefusalError as refusal:
            if refusal.status == 404:
                return False
            raise self._error(refusal, "get", resource) from refusal
        return any(kind["name"] == resource.plural for kind in found.get("resources") or ())

    def version(self) -> str:
        """The server's own, for example ``v1.36.1``."""
        try:
            return str(self._connection.send("GET", "/version")["gitVersion"])
        except RefusalError as refusal:
            raise ClusterError(
                f"The API server does not tell its version: {refusal.message}", where=self._connection.host
            ) from refusal

    def post_event(self, about: dict[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Leaves an event on an object, for `kubectl describe`."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        meta = about["metadata"]
        self.create(
            EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{meta['name'][:200]}.{uuid.uuid4().hex[:16]}"},
                "involvedObject": {
                    "apiVersion": about.get("apiVersion", ""),
                    "kind": about.get("kind", ""),
                    "name": meta["name"],
                    "namespace": meta.get("namespace", self.namespace),
                    "uid": meta.get("uid", ""),
                },
                "type": "Warning" if warning else "Normal",
                "reason": reason,
                "message": message[:1024],
                "source": {"component": MANAGER},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
        )

    def _path(self, resource: Resource, name: str = "", *, everywhere: bool = False) -> str:
        place = "" if everywhere else f"/namespaces/{quote(self.namespace)}"
        return f"{_root(resource)}{place}/{resource.plural}" + (f"/{quote(name)}" if name else "")

    def _error(self, refusal: RefusalError, verb: str, resource: Resource, subject: str = "") -> ClusterError:
        place = f"in the namespace {self.namespace} of {self._connection.host}"
        return explained(refusal, verb, resource, subject, place)


def _root(resource: Resource) -> str:
    return f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """Without the protocol of who set which field, often half of an object, which nobody here reads."""
    item.get("metadata", {}).pop("managedFields", None)
    return item
