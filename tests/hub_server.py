"""A hub on loopback, which knows as much as a question for a commit and a download ask for."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TAGGED = "fedcba9876543210fedcba9876543210fedcba98"


class Hub(http.server.BaseHTTPRequestHandler):
    """Has the model org/model, with one tag; org/gated is closed, and org/busy fails."""

    files: ClassVar[dict[str, bytes]] = {}
    """What the model has at `COMMIT`."""
    sent: ClassVar[list[str]] = []
    """The files that were downloaded."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        folder, _, name = path.partition(f"/resolve/{COMMIT}/")
        if folder == "/org/model" and name in self.files:
            self.send(name)
            return
        if path == f"/api/models/org/model/revision/{COMMIT}" and self.files:
            self.reply({"id": "org/model", "sha": COMMIT, "siblings": [self.sibling(n) for n in self.files]})
            return
        if path == f"/api/models/org/model/tree/{COMMIT}" and self.files:
            rows = [
                {"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in self.files.items()
            ]
            self.reply(rows)
        elif path == "/api/models/org/model":
            self.reply({"id": "org/model", "sha": COMMIT})
        elif path == "/api/models/org/model/revision/v1.0":
            self.reply({"id": "org/model", "sha": TAGGED})
        elif path.startswith("/api/models/org/model/"):
            self.reply({}, status=404, code="RevisionNotFound")
        elif path == "/api/models/org/gated":
            self.reply({}, status=403, code="GatedRepo")
        elif path == "/api/models/org/busy":
            self.reply({}, status=503)
        else:
            self.reply({}, status=404, code="RepoNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def sibling(self, name: str) -> dict[str, object]:
        """A file as the hub lists it, which states the checksum of weights alone."""
        known: dict[str, object] = {"rfilename": name, "size": len(self.files[name])}
        if name.endswith(".safetensors"):
            digest = hashlib.sha256(self.files[name]).hexdigest()
            known["lfs"] = {"size": len(self.files[name]), "sha256": digest, "pointerSize": 1}
        return known

    def send(self, name: str) -> None:
        data = self.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.sent.append(name)
            self.wfile.write(self.altered(name, data))

    def altered(self, name: str, data: bytes) -> bytes:
        """What is sent instead of a file's content."""
        return data

    def reply(self, value: object, status: int = 200, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(hub: type[Hub] = Hub) -> Iterator[str]:
    """The address of a hub that answers."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), hub)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serving_files(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub whose model has files, and at which this process looks; what it answers can be changed."""

    class Full(Hub):
        sent: ClassVar[list[str]] = []

    Full.files = dict(files)
    with serving(Full) as address:
        point_at(address, monkeypatch)
        yield Full


def point_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes an address the hub of this process, whose client has read another from its environment."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
