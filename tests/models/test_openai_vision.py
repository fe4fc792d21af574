"""Against a scripted server on loopback."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.models.openai_vision import OpenAIVision
from fundus_r1.models.protocol import VisionRequest
from fundus_r1.spec.placement import Endpoint

PNG = b"\x89PNG rest"


class Server:
    """Answers with the prompt reversed, unless a test scripts another reply."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.models = ["eye"]
        self.failures: list[tuple[int, str]] = []
        """Replies (status, message) that are given first."""
        self.running = 0
        self.most_running = 0
        self.hold = threading.Event()
        self.hold.set()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(
                    200, {"object": "list", "data": [{"id": m, "object": "model"} for m in server.models]}
                )

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(body)
                    server.keys.append(self.headers["Authorization"])
                    server.running += 1
                    server.most_running = max(server.most_running, server.running)
                    failure = server.failures.pop(0) if server.failures else None
                server.hold.wait(5)
                with server._lock:
                    server.running -= 1
                if failure:
                    self._reply(failure[0], {"error": {"message": failure[1]}})
                    return
                said = body["messages"][0]["content"][1]["text"][::-1]
                choice = {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": said},
                }
                self._reply(200, {"model": "eye-2", "choices": [choice] * body["n"]})

            def _reply(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        # A client that gives up closes its connections; that is no error of the server.
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.hold.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def request(prompt: str, **changes: Any) -> VisionRequest:
    values = {"image": PNG, "prompt": prompt, "n": 1, "max_tokens": 5, "temperature": 0.0, "seed": 3}
    return VisionRequest(**{**values, **changes})


def test_answers_come_in_the_order_of_the_requests(server):
    model = OpenAIVision(Endpoint(url=server.url), "eye")
    answers = model.generate([request(f"prompt {n}") for n in range(20)])
    assert [answer.texts for answer in answers] == [(f"prompt {n}"[::-1],) for n in range(20)]
    assert {answer.model for answer in answers} == {"eye-2"}
    assert model.generate([]) == []


def test_what_is_sent(server):
    OpenAIVision(Endpoint(url=server.url), "eye").generate(
        [request("x", n=2, schema={"type": "object"}), request("x", image=b"\xff\xd8\xff jpeg")]
    )
    png, jpeg = sorted(server.requests, key=lambda sent: -sent["n"])
    assert png["model"] == "eye"
    assert (png["n"], png["max_tokens"], png["temperature"], png["seed"]) == (2, 5, 0.0, 3)
    assert png["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "response_format" not in jpeg
    picture, text = png["messages"][0]["content"]
    assert text == {"type": "text", "text": "x"}
    assert picture["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert jpeg["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_several_answers_to_one_request(server):
    (answer,) = OpenAIVision(Endpoint(url=server.url), "eye").generate([request("ab", n=3)])
    assert answer.texts == ("ba", "ba", "ba")


def test_no_more_requests_at_once_than_the_endpoint_takes(server):
    server.hold.clear()

    def release_a_while_after_the_third() -> None:
        give_up = time.monotonic() + 4
        while server.running < 3 and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(0.3)
        server.hold.set()

    threading.Thread(target=release_a_while_after_the_third).start()
    OpenAIVision(Endpoint(url=server.url, concurrency=3), "eye").generate([request("x")] * 9)
    assert server.most_running == 3


def test_the_only_model_is_found(server):
    assert OpenAIVision(Endpoint(url=server.url)).model == "eye"


def test_several_models_must_be_told_apart(server):
    server.models = ["eye", "ear"]
    with pytest.raises(ModelError, match="2 models: eye, ear"):
        OpenAIVision(Endpoint(url=server.url))


def test_a_short_failure_is_tried_again(server):
    server.failures = [(503, "busy"), (429, "slow down")]
    (answer,) = OpenAIVision(Endpoint(url=server.url), "eye").generate([request("ab")])
    assert answer.texts == ("ba",)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "transient", "hint"),
    [(401, False, "key"), (404, False, "/v1"), (400, False, "such a request"), (503, True, "later")],
)
def test_failures_are_readable(server, status, transient, hint):
    server.failures = [(status, "the server's words")] * 99
    with pytest.raises(ModelError, match=f"status {status}.*the server's words") as caught:
        OpenAIVision(Endpoint(url=server.url), "eye", retries=1).generate([request("x")] * 2)
    assert caught.value.transient is transient
    assert hint in caught.value.hint
    assert caught.value.where == server.url


def test_no_server():
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        OpenAIVision(Endpoint(url="http://127.0.0.1:9/v1"), "eye", retries=0).generate([request("x")])
    assert caught.value.transient


def test_a_slow_server(server):
    server.hold.clear()
    with pytest.raises(ModelError, match=r"within 0\.2 s") as caught:
        OpenAIVision(Endpoint(url=server.url, timeout_s=0.2), "eye", retries=0).generate([request("x")])
    assert caught.value.transient


def test_the_key_is_sent_and_never_told(server, monkeypatch):
    monkeypatch.setenv("EYE_KEY", "sesame-123")
    server.failures = [(401, "sesame-123 is no key")]
    model = OpenAIVision(Endpoint(url=server.url, api_key_env="EYE_KEY"), "eye")
    with pytest.raises(ModelError) as caught:
        model.generate([request("x")])
    assert server.keys == ["Bearer sesame-123"]
    assert "sesame-123" not in str(caught.value)


def test_a_missing_key_is_asked_for(server, monkeypatch):
    monkeypatch.delenv("EYE_KEY", raising=False)
    with pytest.raises(ModelError, match="EYE_KEY holds no key"):
        OpenAIVision(Endpoint(url=server.url, api_key_env="EYE_KEY"), "eye")
