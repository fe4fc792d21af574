"""The client against a real HTTP server on loopback that answers by a script."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.models.openai_http import OpenAIChat, bare_json, violation
from fundus_r1.models.protocol import ChatModel, ChatRequest
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
KEY = "sk-very-secret-0123456789"

Reply = tuple[int, Any]
"""Status and JSON body; bytes as a body are sent as they are."""


def says(text: str | None, model: str = "writer-2026-01-01") -> Reply:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}


def fails(status: int, message: str = "no") -> Reply:
    return status, {"error": {"message": message, "type": "x"}}


class Server:
    """Answers the n-th request with the n-th reply (the last one for ever), or by a function."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [says("yes")]
        self.by: Callable[[dict[str, Any]], Reply] | None = None
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.at_once = 0
        self.most_at_once = 0
        self.delay = 0.0
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, reply = outer._reply(body, self.headers.get("Authorization"))
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                kind = "text/html" if isinstance(reply, bytes) else "application/json"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _reply(self, body: dict[str, Any], key: str | None) -> Reply:
        with self._lock:
            self.seen.append(body)
            self.keys.append(key)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            reply = self.by(body) if self.by else self.replies[min(len(self.seen), len(self.replies)) - 1]
        time.sleep(self.delay)
        with self._lock:
            self.at_once -= 1
        return reply

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def model(server: Server, retries: int = 1, **place: Any) -> ChatModel:
    chat = Chat(engine="openai", model="writer", max_tokens=77)
    return OpenAIChat(chat, Endpoint(url=server.url, **place), retries=retries)


def ask(text: str = "hello", schema: dict[str, Any] | None = None) -> ChatRequest:
    return ChatRequest("check", (("system", "be brief"), ("user", text)), schema=schema)


def test_an_answer_with_the_id_that_answered(server):
    [answer] = model(server).complete([ask("look")])
    assert (answer.text, answer.model) == ("yes", "writer-2026-01-01")
    [body] = server.seen
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "look"},
    ]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("writer", 0.0, 77)
    assert "response_format" not in body


def test_answers_keep_the_order_and_the_bound(server):
    server.by = lambda body: says(body["messages"][-1]["content"][::-1])
    server.delay = 0.05
    answers = model(server, concurrency=3).complete([ask(f"text {n}") for n in range(9)])
    assert [answer.text for answer in answers] == [f"text {n}"[::-1] for n in range(9)]
    assert server.most_at_once == 3


def test_no_requests_make_no_connection():
    nowhere = OpenAIChat(Chat(engine="openai", model="m"), Endpoint(url="http://127.0.0.1:9/v1"))
    assert nowhere.complete([]) == []


def test_429_is_tried_again(server):
    server.replies = [fails(429), says("later")]
    assert model(server).complete([ask()])[0].text == "later"
    assert len(server.seen) == 2


def test_500_for_ever_is_transient(server):
    server.replies = [fails(500, "overloaded")]
    with pytest.raises(ModelError, match="overloaded") as raised:
        model(server).complete([ask()])
    assert raised.value.transient
    assert raised.value.where == server.url
    assert len(server.seen) == 2


def test_400_is_not_tried_again(server):
    server.replies = [fails(400, "too long")]
    with pytest.raises(ModelError, match="too long") as raised:
        model(server, retries=3).complete([ask()])
    assert not raised.value.transient
    assert len(server.seen) == 1


def test_one_failure_ends_all_requests(server):
    server.by = lambda body: fails(404) if body["messages"][-1]["content"] == "text 0" else says("ok")
    server.delay = 0.05
    with pytest.raises(ModelError, match="404"):
        model(server, concurrency=1).complete([ask(f"text {n}") for n in range(50)])
    assert len(server.seen) < 5


def test_a_wrong_key_is_never_shown(server, monkeypatch, caplog):
    monkeypatch.setenv("TEST_KEY", KEY)
    server.replies = [fails(401, f"Incorrect API key provided: {KEY}")]
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelError) as raised:
        model(server, api_key_env="TEST_KEY").complete([ask()])
    assert server.keys == [f"Bearer {KEY}"]
    assert "401" in raised.value.what
    assert "api_key_env" in raised.value.hint
    assert not raised.value.transient
    assert KEY not in str(raised.value)
    assert KEY not in caplog.text


def test_a_key_that_is_not_set_is_an_error_before_anything_is_asked(server, monkeypatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(ModelError, match="TEST_KEY"):
        model(server, api_key_env="TEST_KEY")
    assert server.seen == []


def test_a_schema_is_sent_and_a_good_answer_is_asked_for_once(server):
    server.replies = [says('<think>hm</think>\n```json\n{"verdict": "good"}\n```')]
    [answer] = model(server).complete([ask(schema=SCHEMA)])
    assert json.loads(answer.text) == {"verdict": "good"}
    [body] = server.seen
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    "wrong", ["I think it is good.", '{"verdict": "fine"}', '{"verdict": "good"', "", None]
)
def test_a_wrong_answer_is_repaired_once(server, wrong):
    server.replies = [says(wrong), says('{"verdict": "bad"}')]
    [answer] = model(server).complete([ask(schema=SCHEMA)])
    assert json.loads(answer.text) == {"verdict": "bad"}
    first, second = server.seen
    assert second["messages"][:-2] == first["messages"]
    assert second["messages"][-2]["content"] == (wrong or "")
    assert "no valid answer" in second["messages"][-1]["content"]


def test_what_stays_wrong_is_handed_on(server):
    server.replies = [says("no idea")]
    assert model(server).complete([ask(schema=SCHEMA)])[0].text == "no idea"
    assert len(server.seen) == 2


def test_a_server_without_structured_output_is_asked_plainly(server):
    def reply(body: dict[str, Any]) -> Reply:
        if "response_format" in body:
            return fails(400, "response_format.type json_schema is not supported")
        return says('{"verdict": "good"}')

    server.by = reply
    answers = model(server, concurrency=1).complete([ask(schema=SCHEMA)] * 3)
    assert [json.loads(answer.text) for answer in answers] == [{"verdict": "good"}] * 3
    assert ["response_format" in body for body in server.seen] == [True, False, False, False]


def test_a_slow_server_is_a_transient_error(server):
    server.delay = 1.0
    with pytest.raises(ModelError, match=r"within 0\.1 s") as raised:
        model(server, retries=0, timeout_s=0.1).complete([ask()])
    assert raised.value.transient


def test_a_refused_connection_is_a_transient_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = Endpoint(url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(ModelError, match="cannot be reached") as raised:
        OpenAIChat(Chat(engine="openai", model="m"), place, retries=0).complete([ask()])
    assert raised.value.transient
    assert str(port) in str(raised.value)


@pytest.mark.parametrize("body", [b"<html>hello</html>", {"detail": "ok"}, {"choices": []}])
def test_a_page_that_is_no_answer_is_a_permanent_error(server, body):
    server.replies = [(200, body)]
    with pytest.raises(ModelError, match=r"/v1|API") as raised:
        model(server).complete([ask()])
    assert not raised.value.transient


def test_it_can_be_asked_from_many_threads(server):
    server.by = lambda body: says(body["messages"][-1]["content"])
    shared = model(server)
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: texts.append(shared.complete([ask(str(n))])[0].text))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == ["0", "1", "2", "3"]


def test_bare_json():
    assert bare_json('<think>{"a": 1}</think> {"b": 2} ') == '{"b": 2}'
    assert bare_json("```\n[1]\n```") == "[1]"
    assert bare_json("plain") == "plain"


def test_violation_says_where():
    assert violation('{"verdict": "good"}', SCHEMA) is None
    assert "no JSON" in str(violation("good", SCHEMA))
    assert "$.verdict" in str(violation('{"verdict": 1}', SCHEMA))
