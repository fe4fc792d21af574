"""Kubeflow Pipelines' REST API (v2beta1) on loopback, as far as its own client asks for it here.

It keeps pipelines, versions, experiments and runs, answers conflicts and wrong references as the real one
does, and can be told to fail: to refuse, to break a connection before or after the work, to be slow.
A run's states are set by the test, or follow a script, one line of it each time the run is looked at.
"""

from __future__ import annotations

import datetime
import email.parser
import http.server
import json
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import yaml

API = "/apis/v2beta1"


@dataclass
class Fault:
    """What happens to the next requests of a kind instead of the usual."""

    method: str
    path: str
    """Text that the request's path holds."""
    status: int | None = None
    """Answer with it; None breaks the connection."""
    body: dict[str, Any] = field(default_factory=lambda: {"error": "scripted", "message": "scripted"})
    done: bool = False
    """Whether the request is carried out all the same, before the answer is lost."""
    seconds: float = 0.0
    """To wait before."""
    times: int = 1
    """How many requests; negative for all."""


@dataclass
class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that is no success."""

    status: int
    message: str


class KfpServer:
    """The server, in a thread; a context manager."""

    def __init__(self, *, token: str | None = None) -> None:
        self.token = token
        """What requests must carry; None lets everybody in."""
        self.html = False
        """Whether everything is answered with a page to log in on."""
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.packages: dict[str, bytes] = {}
        """Version id -> what was uploaded."""
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.scripts: dict[str, list[dict[str, Any]]] = {}
        """Run id -> what it becomes, look by look; the last stays."""
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        """Method and path of each."""
        self.authorizations: set[str] = set()
        self._lock = threading.RLock()
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> KfpServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def asked(self, method: str, path: str) -> int:
        """How many requests of a kind came; `path` is text that theirs holds."""
        return sum(m == method and path in p for m, p in self.requests)

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """What the API answers.

        Raises:
            Refusal: it does not.
        """
        with self._lock:
            match method, path.removeprefix(API).strip("/").split("/"):
                case "GET", ["healthz"]:
                    return {"multi_user": False}
                case "GET", ["pipelines"]:
                    return _listed("pipelines", self.pipelines, query)
                case "POST", ["pipelines"]:
                    return self._pipeline(body)
                case "POST", ["pipelines", "upload_version"]:
                    return self._version(query, body)
                case "GET", ["pipelines", pipeline, "versions"]:
                    mine = [row for row in self.versions if row["pipeline_id"] == pipeline]
                    return _listed("pipeline_versions", mine, query)
                case "GET", ["experiments"]:
                    return _listed("experiments", self.experiments, query)
                case "POST", ["experiments"]:
                    return self._experiment(body)
                case "GET", ["runs"]:
                    mine = [
                        row for row in self.runs if query.get("experiment_id") in (None, row["experiment_id"])
                    ]
                    return _listed("runs", list(reversed(mine)), query)
                case "POST", ["runs"]:
                    return self._run(body)
                case "GET", ["runs", run]:
                    return self._look(run)
            raise Refusal(404, f"no {method} {path}")

    def _pipeline(self, body: dict[str, Any]) -> dict[str, Any]:
        place = (body["display_name"], body.get("namespace", ""))
        if any((row["display_name"], row["namespace"]) == place for row in self.pipelines):
            raise Refusal(409, f"The name {place[0]} already exist. Please specify a new name")
        made = {
            "pipeline_id": f"p{len(self.pipelines) + 1}", "display_name": place[0], "name": place[0],
            "description": body.get("description", ""), "namespace": place[1], "created_at": _now(),
        }  # fmt: skip
        self.pipelines.append(made)
        return made

    def _version(self, query: dict[str, str], package: bytes) -> dict[str, Any]:
        if all(row["pipeline_id"] != query["pipelineid"] for row in self.pipelines):
            raise Refusal(400, "Failed to create a pipeline version")
        place = (query["pipelineid"], query["name"])
        if any((row["pipeline_id"], row["display_name"]) == place for row in self.versions):
            raise Refusal(409, "Failed to create a pipeline version")
        documents = list(yaml.load_all(package, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        if not documents or "pipelineInfo" not in documents[0]:
            raise Refusal(400, "unknown template format")
        made = {
            "pipeline_id": place[0], "pipeline_version_id": f"v{len(self.versions) + 1}",
            "display_name": place[1], "name": place[1], "description": query.get("description", ""),
            "created_at": _now(), "pipeline_spec": documents[0],
        }  # fmt: skip
        self.versions.append(made)
        self.packages[made["pipeline_version_id"]] = package
        return made

    def _experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        place = (body["display_name"], body.get("namespace", ""))
        if any((row["display_name"], row["namespace"]) == place for row in self.experiments):
            raise Refusal(409, "Already exist error")
        made = {"experiment_id": f"e{len(self.experiments) + 1}", "display_name": place[0]}
        self.experiments.append({**made, "namespace": place[1], "created_at": _now()})
        return self.experiments[-1]

    def _run(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = body["pipeline_version_reference"]
        found = [row for row in self.versions if all(row[key] == wanted[key] for key in wanted)]
        if not found:
            raise Refusal(404, "Failed to fetch a pipeline version")
        if all(row["experiment_id"] != body["experiment_id"] for row in self.experiments):
            raise Refusal(404, "Experiment not found")
        known = found[0]["pipeline_spec"]["root"].get("inputDefinitions", {}).get("parameters", {})
        given = body.get("runtime_config", {}).get("parameters", {})
        if unknown := sorted(set(given) - set(known)):
            raise Refusal(400, f"input parameter {unknown[0]} is not in the pipeline")
        for name, value in given.items():
            if not isinstance(value, _TYPES[known[name]["parameterType"]]):
                raise Refusal(400, f"input parameter {name} has the wrong type")
        number = len(self.runs) + 1
        made = {
            **body, "run_id": f"{number:08d}-2222-3333-4444-555555555555", "state": "PENDING",
            "created_at": _now(), "run_details": {"task_details": []},
        }  # fmt: skip
        self.runs.append(made)
        return made

    def _look(self, run_id: str) -> dict[str, Any]:
        for row in self.runs:
            if row["run_id"] == run_id:
                if script := self.scripts.get(run_id, self.scripts.get("*")):
                    row.update(script.pop(0) if len(script) > 1 else script[0])
                return row
        raise Refusal(404, f"Run {run_id} not found")


_TYPES: dict[str, Any] = {
    "STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool, "LIST": list,
    "STRUCT": dict,
}  # fmt: skip


def states(run: str, error: str = "", **steps: str | tuple[str, str]) -> dict[str, Any]:
    """One look at a run.

    Args:
        run: its state.
        error: what it says.
        steps: name -> state, or state and error; ``__`` stands for ``: `` in a name.
    """
    details = []
    for name, told in steps.items():
        state, why = (told, "") if isinstance(told, str) else told
        details.append(
            {"task_id": name, "display_name": name.replace("__", ": "), "state": state}
            | ({"error": {"code": 2, "message": why}} if why else {})
        )
    found: dict[str, Any] = {"state": run, "run_details": {"task_details": details}}
    return found | ({"error": {"code": 2, "message": error}} if error else {})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _listed(name: str, rows: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
        assert predicate["operation"] in (1, "EQUALS"), predicate
        rows = [row for row in rows if row[predicate["key"]] == predicate["stringValue"]]
    if namespace := query.get("namespace"):
        rows = [row for row in rows if row["namespace"] == namespace]
    rows = rows[: int(query.get("page_size") or 10)]
    return {name: rows, "total_size": len(rows)} if rows else {}


def _handler(kfp: KfpServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.serve()

        def do_POST(self) -> None:
            self.serve()

        def serve(self) -> None:
            path, _, query = self.path.partition("?")
            kfp.requests.append((self.command, path))
            kfp.authorizations.add(self.headers.get("authorization", ""))
            body = self.body()
            if kfp.html:
                return self.reply(200, b"<html>log in</html>", "text/html")
            fault = kfp.fault_of(self.command, path)
            if fault is not None:
                time.sleep(fault.seconds)
                if fault.done:
                    self.work(path, query, body)
                if fault.status is None:
                    self.close_connection = True
                    return None
                return self.reply(fault.status, json.dumps(fault.body).encode())
            return self.reply(*self.work(path, query, body))

        def work(self, path: str, query: str, body: Any) -> tuple[int, bytes]:
            try:
                if kfp.token is not None and self.headers.get("authorization") != f"Bearer {kfp.token}":
                    raise Refusal(401, "Request header error: there is no user identity header.")
                answer = kfp.answer(self.command, path, dict(urllib.parse.parse_qsl(query)), body)
                return 200, json.dumps(answer).encode()
            except Refusal as refusal:
                told = {"error": refusal.message, "code": 6, "message": refusal.message}
                return refusal.status, json.dumps(told).encode()

        def body(self) -> Any:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type") or ""
            if not kind.startswith("multipart/"):
                return json.loads(data) if data else None
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            [part] = email.parser.BytesParser().parsebytes(head + data).get_payload()
            assert part.get_param("name", header="content-disposition") == "uploadfile"
            return part.get_payload(decode=True)

        def reply(self, status: int, data: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    return Handler
