"""A hub on loopback, which knows as much as a question for a commit asks for."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TAGGED = "fedcba9876543210fedcba9876543210fedcba98"


class Hub(http.server.BaseHTTPRequestHandler):
    """Has the model org/model, with one tag; org/gated is closed, and org/busy fails."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/api/models/org/model":
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

    def reply(self, value: object, status: int = 200, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """The address of a hub that answers."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
