"""A Kubernetes API server on loopback, as far as this project speaks with one.

Objects can be made, read, listed, patched, deleted and watched; pods have logs. Nothing else lives here: no
operator, no scheduler, no kubelet, so a test scripts their part (`pod`, `status`, `say`). Faults are scripted
too (`fail`, `drop_streams`, `objects.compact`). All requests are kept in `requests`.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml
from kube_objects import Key, Objects, StatusError, selected

from fundus_r1.cluster import child
from fundus_r1.cluster.child import PODS, Resource

TOKEN = "a-token-for-tests"
NAMESPACE = "team"
CORE = tuple(
    Resource("", "v1", plural, kind)
    for plural, kind in {
        "configmaps": "ConfigMap", "namespaces": "Namespace", "nodes": "Node", "secrets": "Secret",
        "services": "Service", "serviceaccounts": "ServiceAccount", "resourcequotas": "ResourceQuota",
        "persistentvolumeclaims": "PersistentVolumeClaim", "limitranges": "LimitRange",
    }.items()
)  # fmt: skip
KUEUE = tuple(
    Resource("kueue.x-k8s.io", "v1beta1", plural, kind)
    for plural, kind in {
        "localqueues": "LocalQueue", "clusterqueues": "ClusterQueue", "resourceflavors": "ResourceFlavor"
    }.items()
)  # fmt: skip
OTHERS = (
    Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    Resource("batch", "v1", "jobs", "Job"),
    Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass"),
)
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)


@dataclass
class Request:
    """One request that was received."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any] | None
    at: float
    """`time.monotonic`."""
    port: int
    """The client's: tells connections apart."""


@dataclass
class Fault:
    """A request that goes wrong."""

    method: str
    path: str
    status: int
    times: int
    done: bool
    headers: dict[str, str] = field(default_factory=dict)


class KubeServer:
    """The server; a context manager. Serves all kinds that the project knows, but for those in `unserved`."""

    version = "v1.36.1"

    def __init__(self) -> None:
        self.objects = Objects()
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.held: list[tuple[str, str, threading.Event]] = []
        self.unserved: set[Resource] = set()
        self.forbidden: set[tuple[str, str]] = set()
        """Verb and plural (or ``pods/log``) that are refused by 403."""
        self.said: dict[str, list[tuple[str, str]]] = {}
        """Pod -> its log: time and line."""
        self.resources = [
            found for found in vars(child).values() if isinstance(found, Resource)
        ] + [*CORE, *KUEUE, *OTHERS]  # fmt: skip
        self._streams: set[socket.socket] = set()
        self._http = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"kube": self}))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.drop_streams()

    def kubeconfig(self, path: Path, namespace: str = NAMESPACE) -> Path:
        """Writes how to reach this server."""
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": {"server": self.url}}],
                    "users": [{"name": "test", "user": {"token": TOKEN}}],
                    "contexts": [
                        {
                            "name": "test",
                            "context": {"cluster": "test", "user": "test", "namespace": namespace},
                        }
                    ],
                }
            ),
            encoding="utf-8",
        )
        return path

    # What a test does in the place of operators, kubelets and people.

    def add(self, resource: Resource, manifest: dict[str, Any], namespace: str = NAMESPACE) -> dict[str, Any]:
        """Makes an object; `namespace` is "" for a kind that is in none."""
        return self.objects.create(resource, namespace, manifest)

    def read(self, resource: Resource, name: str, namespace: str = NAMESPACE) -> dict[str, Any] | None:
        with self.objects.moved:
            return copy.deepcopy(
                self.objects.items.get(Key(resource.group, resource.plural, namespace, name))
            )

    def names(self, resource: Resource, namespace: str = NAMESPACE) -> list[str]:
        found = self.objects.choose(resource.group, resource.plural, namespace, "", "")
        return [item["metadata"]["name"] for item in found]

    def status(self, resource: Resource, name: str, status: dict[str, Any]) -> None:
        """Merges into an object's status."""
        self.edit(resource, name, {"status": status})

    def edit(self, resource: Resource, name: str, patch: dict[str, Any]) -> None:
        self.objects.patch(Key(resource.group, resource.plural, NAMESPACE, name), patch)

    def remove(self, resource: Resource, name: str) -> None:
        self.objects.delete(Key(resource.group, resource.plural, NAMESPACE, name), {})

    def pod(
        self,
        name: str,
        labels: dict[str, str],
        phase: str = "Pending",
        *,
        owner: dict[str, Any] | None = None,
        container: str = "main",
        restart: str = "Never",
    ) -> dict[str, Any]:
        """Makes a pod with one container."""
        meta: dict[str, Any] = {"name": name, "labels": labels}
        if owner is not None:
            meta["ownerReferences"] = [
                {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
                | {key: owner["metadata"][key] for key in ("name", "uid")}
            ]
        spec = {"restartPolicy": restart, "containers": [{"name": container, "image": "image"}]}
        self.said.setdefault(name, [])
        return self.add(PODS, {"metadata": meta, "spec": spec, "status": {"phase": phase}})

    def phase(self, name: str, phase: str, **container_state: dict[str, Any]) -> None:
        """Moves a pod on; `container_state` is for example ``terminated={"exitCode": 1}``."""
        status: dict[str, Any] = {"phase": phase}
        if container_state:
            pod = self.read(PODS, name)
            assert pod is not None
            status["containerStatuses"] = [
                {"name": pod["spec"]["containers"][0]["name"], "restartCount": 0, "state": container_state}
            ]
        self.status(PODS, name, status)

    def say(self, pod: str, *lines: str, at: datetime.datetime | None = None) -> None:
        """Lines of a pod's log."""
        with self.objects.moved:
            for line in lines:
                now = at or datetime.datetime.now(datetime.UTC)
                stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
                self.said.setdefault(pod, []).append((stamp, line))
            self.objects.moved.notify_all()

    def fail(
        self,
        method: str,
        path: str,
        status: int,
        *,
        times: int = 1,
        done: bool = False,
        retry_after: str = "",
    ) -> None:
        """Lets requests go wrong.

        Args:
            method: of the requests.
            path: regular expression, searched in the path.
            status: what is answered; 0 drops the connection.
            times: how many requests.
            done: what was asked for is done before.
            retry_after: seconds, a header of the answer.
        """
        headers = {"Retry-After": retry_after} if retry_after else {}
        self.faults.append(Fault(method, path, status, times, done, headers))

    def hold(self, method: str, path: str) -> threading.Event:
        """Lets the next such request wait until the event is set; then what was asked for is done."""
        held = threading.Event()
        self.held.append((method, path, held))
        return held

    def drop_streams(self) -> None:
        """Cuts all watches and logs that are being followed."""
        for stream in list(self._streams):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def asked(self, method: str, path: str) -> list[Request]:
        """Requests whose path a regular expression finds."""
        return [r for r in list(self.requests) if r.method == method and re.search(path, r.path)]

    def wait_for(self, method: str, path: str, count: int = 1, timeout_s: float = 10.0) -> list[Request]:
        """Waits until so many requests were received."""
        until = time.monotonic() + timeout_s
        while len(found := self.asked(method, path)) < count:
            assert time.monotonic() < until, f"no {method} {path} within {timeout_s} s"
            time.sleep(0.005)
        return found


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    kube: KubeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        address = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = dict(parse_qsl(address.query))
        at = time.monotonic()
        self.kube.requests.append(
            Request(self.command, address.path, query, body, at, self.client_address[1])
        )
        for held in self.kube.held:
            if held[0] == self.command and re.search(held[1], address.path):
                self.kube.held.remove(held)
                held[2].wait()
                break
        fault = self._fault(address.path)
        if fault and not fault.done:
            self._fail(fault)
            return
        try:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise StatusError(401, "Unauthorized", "Unauthorized")
            found = self._dispatch(address.path, query, body)
        except StatusError as error:
            self._reply(error.code, error.body)
            return
        if fault:
            self._fail(fault)
        elif found is not None:
            self._reply(201 if self.command == "POST" else 200, found)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _fault(self, path: str) -> Fault | None:
        for fault in self.kube.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _fail(self, fault: Fault) -> None:
        if fault.status:
            body = {"kind": "Status", "reason": "Scripted", "message": "scripted", "code": fault.status}
            self._reply(fault.status, body, fault.headers)
        else:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _reply(self, code: int, found: Any, headers: dict[str, str] | None = None) -> None:
        text = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _dispatch(self, path: str, query: dict[str, str], body: Any) -> Any:
        kube = self.kube
        if path == "/version":
            return {"gitVersion": kube.version}
        if match := re.fullmatch(r"/(?:api|apis/([^/]+))/(v[^/]+)", path):
            served = [r for r in kube.resources if r not in kube.unserved]
            kinds = [r for r in served if (r.group, r.version) == (match[1] or "", match[2])]
            if not kinds:
                return self._reply(404, "404 page not found\n")
            return {
                "kind": "APIResourceList",
                "resources": [{"name": r.plural, "kind": r.kind} for r in kinds],
            }
        match = _PATH.fullmatch(path)
        found = match and {name: unquote(value or "") for name, value in match.groupdict().items()}
        resource = found and next(
            (
                r
                for r in kube.resources
                if (r.group, r.version, r.plural) == (found["group"], found["version"], found["plural"])
                and r not in kube.unserved
            ),
            None,
        )
        if not found or not resource:
            return self._reply(404, "404 page not found\n")
        return self._resource(resource, found["namespace"], found["name"], found["sub"], query, body)

    def _resource(
        self, resource: Resource, namespace: str, name: str, sub: str, query: dict[str, str], body: Any
    ) -> Any:
        kube, objects = self.kube, self.kube.objects
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(self.command) or (
            "get" if name else "watch" if "watch" in query else "list"
        )
        kind = f"{resource.plural}/{sub}" if sub == "log" else resource.plural
        if (verb, kind) in kube.forbidden:
            raise StatusError(403, "Forbidden", f"{kind} is forbidden: User cannot {verb} it")
        if resource.plural == "selfsubjectaccessreviews":
            asked = body["spec"]["resourceAttributes"]
            plural = "/".join(part for part in (asked["resource"], asked.get("subresource")) if part)
            return {**body, "status": {"allowed": (asked["verb"], plural) not in kube.forbidden}}
        key = Key(resource.group, resource.plural, namespace, name)
        if sub == "log":
            return self._log(key, query)
        if verb == "create":
            return objects.create(resource, namespace, body)
        if verb == "patch":
            return objects.patch(key, body)
        if verb == "delete":
            return objects.delete(key, (body or {}).get("preconditions", {}))
        if verb == "get":
            with objects.moved:
                return copy.deepcopy(objects.find(key))
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        if verb == "watch":
            return self._watch(resource, namespace, labels, fields, query)
        return self._list(resource, namespace, labels, fields, query)

    def _list(
        self, resource: Resource, namespace: str, labels: str, fields: str, query: dict[str, str]
    ) -> Any:
        objects = self.kube.objects
        with objects.moved:
            items = objects.choose(resource.group, resource.plural, namespace, labels, fields)
            version = objects.version
        first, asked = (int(part) for part in query.get("continue", f"0-{version}").split("-"))
        if asked < objects.oldest:
            raise StatusError(410, "Expired", "the continue token is too old")
        last = first + int(query.get("limit", len(items) or 1))
        meta = {"resourceVersion": str(version)}
        if last < len(items):
            meta["continue"] = f"{last}-{version}"
        return {
            "kind": f"{resource.kind}List", "apiVersion": resource.api_version,
            "metadata": meta, "items": items[first:last],
        }  # fmt: skip

    def _watch(
        self, resource: Resource, namespace: str, labels: str, fields: str, query: dict[str, str]
    ) -> None:
        objects, last = self.kube.objects, int(query["resourceVersion"])
        until = time.monotonic() + float(query.get("timeoutSeconds", "60"))
        self._begin()
        with self._streaming(), objects.moved:
            if last < objects.oldest:
                gone = StatusError(410, "Expired", "too old resource version")
                self._chunk({"type": "ERROR", "object": gone.body})
                return
            while True:
                for change in [c for c in objects.history if c.version > last]:
                    last = change.version
                    key = change.key
                    if (key.group, key.plural) != (resource.group, resource.plural):
                        continue
                    if namespace in ("", key.namespace) and selected(change.item, labels, fields):
                        self._chunk({"type": change.kind, "object": change.item})
                if "allowWatchBookmarks" in query:
                    mark = {"kind": resource.kind, "metadata": {"resourceVersion": str(objects.version)}}
                    self._chunk({"type": "BOOKMARK", "object": mark})
                left = until - time.monotonic()
                if left <= 0 or not objects.moved.wait(left):
                    return

    def _log(self, key: Key, query: dict[str, str]) -> Any:
        kube, moved = self.kube, self.kube.objects.moved
        with moved:
            pod = kube.objects.find(key)
            if pod["status"]["phase"] == "Pending":
                raise StatusError(400, "BadRequest", "the container is waiting to start: ContainerCreating")
            since = query.get("sinceTime", "")[:19]
            told = [i for i, (stamp, _) in enumerate(kube.said[key.name]) if stamp[:19] >= since]
            if "tailLines" in query:
                told = told[-int(query["tailLines"]) :]
            at = told[0] if told else len(kube.said[key.name])
        self._begin("text/plain")
        with self._streaming(), moved:
            while True:
                now = kube.objects.items.get(key)
                if now is not None and now["metadata"]["uid"] != pod["metadata"]["uid"]:
                    return  # a container's log ends with it, whoever has its name now
                lines = kube.said[key.name][at:]
                at += len(lines)
                if lines:
                    self._chunk("".join(f"{stamp} {line}\n" for stamp, line in lines))
                if "follow" not in query or now is None or now["status"]["phase"] in ("Succeeded", "Failed"):
                    return
                moved.wait()

    def _begin(self, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    @contextlib.contextmanager
    def _streaming(self) -> Any:
        """An answer in pieces, properly ended unless its connection is lost."""
        self.kube._streams.add(self.connection)
        try:
            yield
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            self.kube._streams.discard(self.connection)

    def _chunk(self, found: Any) -> None:
        data = found.encode() if isinstance(found, str) else json.dumps(found).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
