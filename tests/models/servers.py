"""OpenAI-compatible servers on loopback that answer, or fail, by a script.

A behaviour says what is done with one request. `Server.script` gives the n-th request the n-th behaviour, the
last for ever; `Server.by` chooses by what is asked.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler", dict[str, Any]], None]


def completion(texts: Iterable[str | None], model: str = "served-2026-01-01", **more: Any) -> dict[str, Any]:
    """A chat completion with one choice for each text."""
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for i, text in enumerate(texts)
    ]
    return {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": choices} | more


def says(text: str | None, **more: Any) -> Behaviour:
    """Answers with a text, as often as the request's ``n`` asks."""
    return lambda handler, body: handler.reply(200, completion([text] * body.get("n", 1), **more))


def gives(value: Any) -> Behaviour:
    """Answers with a JSON value, or with bytes as they are, of type text/html."""
    return lambda handler, _: handler.reply(200, value)


def fails(status: int, message: str = "no", **headers: str) -> Behaviour:
    """Refuses. Headers are written with underscores: ``retry_after="1"``."""
    error = {"error": {"message": message, "type": "x"}}
    return lambda handler, _: handler.reply(status, error, **headers)


def half_a_json(handler: Handler, body: dict[str, Any]) -> None:
    """A JSON document that is cut in the middle, though its length is the one announced."""
    handler.reply(200, json.dumps(completion(["never read"])).encode()[:60], content_type="application/json")


def half_an_answer(handler: Handler, body: dict[str, Any]) -> None:
    """Fewer bytes than announced, then the end of the connection."""
    data = json.dumps(completion(["never read"])).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def resets(handler: Handler, body: dict[str, Any]) -> None:
    """The connection is reset instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def hangs(handler: Handler, body: dict[str, Any]) -> None:
    """No answer for as long as the server lives, at most for ten seconds."""
    handler.owner.ended.wait(10)
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    owner: Server

    def setup(self) -> None:
        super().setup()
        self.owner.connections.add(self.connection)

    def finish(self) -> None:
        self.owner.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        models = [{"id": model, "object": "model"} for model in self.owner.models]
        listed = {"object": "list", "data": models}
        self.reply(200, listed if self.path == "/v1/models" else b"<html>a page</html>")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour = self.owner.begin(body, self.headers.get("Authorization"))
        try:
            time.sleep(self.owner.delay)
            self.owner.hold.wait(10)
            behaviour(self, body)
        finally:
            self.owner.end()

    def reply(self, status: int, value: Any, content_type: str = "", **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = content_type or ("text/html" if isinstance(value, bytes) else "application/json")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # five, as it is otherwise, lets the system drop the others for a second


class Server:
    """The server, and what it was asked."""

    def __init__(self) -> None:
        self.script: list[Behaviour] = [says("yes")]
        self.by: Callable[[dict[str, Any]], Behaviour] | None = None
        self.models = ["served"]
        self.delay = 0.0
        """Seconds before each answer."""
        self.hold = threading.Event()
        """Answers wait until it is set."""
        self.hold.set()
        self.seen: list[dict[str, Any]] = []
        self.times: list[float] = []
        """When each request came, of the monotonic clock."""
        self.keys: list[str | None] = []
        self.at_once = 0
        self.most_at_once = 0
        self.ended = threading.Event()
        self.connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._port = 0
        self._http: ThreadingHTTPServer | None = None
        self.back()
        self.url = f"http://127.0.0.1:{self._port}/v1"

    def back(self) -> None:
        """Begins to listen, at the same port as before."""
        handler = type("Bound", (Handler,), {"owner": self})
        self._http = _Listening(("127.0.0.1", self._port), handler)
        # A client that gives up closes its connections; that is no error of the server.
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def away(self) -> None:
        """Refuses connections, and drops those that are open."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed in the meantime

    def begin(self, body: dict[str, Any], key: str | None) -> Behaviour:
        with self._lock:
            self.seen.append(body)
            self.times.append(time.monotonic())
            self.keys.append(key)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return self.by(body) if self.by else self.script[min(len(self.seen), len(self.script)) - 1]

    def end(self) -> None:
        with self._lock:
            self.at_once -= 1

    def close(self) -> None:
        self.ended.set()
        self.hold.set()
        self.away()
