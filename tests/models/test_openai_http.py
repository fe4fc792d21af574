"""The text client against a real HTTP server on loopback that answers by a script."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.models.breaker import Pace
from fundus_r1.models.openai_http import OpenAIChat
from fundus_r1.models.protocol import ChatRequest
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from tests.models.servers import Behaviour, Server, fails, gives, says

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
KEY = "sk-very-secret-0123456789"
QUICK = Pace(first_s=0.01, most_s=0.05)


def model(server: Server, **place: Any) -> OpenAIChat:
    chat = Chat(engine="openai", model="writer", max_tokens=77)
    return OpenAIChat(chat, Endpoint(url=server.url, **({"deadline_s": 60} | place)), pace=QUICK)


def ask(text: str = "hello", schema: dict[str, Any] | None = None) -> ChatRequest:
    return ChatRequest("check", (("system", "be brief"), ("user", text)), schema=schema)


def echo(body: dict[str, Any]) -> Behaviour:
    return says(body["messages"][-1]["content"][::-1])


def test_an_answer_with_the_id_that_answered(server: Server) -> None:
    asked = model(server)
    [answer] = asked.complete([ask("look")])
    assert (answer.text, answer.model) == ("yes", "served-2026-01-01")
    [body] = server.seen
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "look"},
    ]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("writer", 0.0, 77)
    assert "response_format" not in body
    assert asked.usage.counts() == {"requests": 1, "sent": 1}


def test_the_endpoints_own_name_of_the_model_is_asked_for(server: Server) -> None:
    model(server, model="writer-awq").complete([ask()])
    assert server.seen[0]["model"] == "writer-awq"


def test_tokens_are_counted_and_priced(server: Server) -> None:
    server.script = [says("a", usage={"prompt_tokens": 1000, "completion_tokens": 20}), says("b")]
    asked = model(server, usd_per_million_prompt_tokens=2.0, usd_per_million_completion_tokens=10.0)
    asked.complete([ask(), ask()])
    counts = asked.usage.counts()
    assert (counts["prompt_tokens"], counts["completion_tokens"], counts["requests"]) == (1000, 20, 2)
    place = Endpoint(url="x", usd_per_million_prompt_tokens=2.0, usd_per_million_completion_tokens=10.0)
    assert asked.usage.usd(place) == pytest.approx(0.0022)


def test_answers_keep_the_order_and_the_bound(server: Server) -> None:
    server.by = echo
    server.delay = 0.05
    answers = model(server, concurrency=3).complete([ask(f"text {n}") for n in range(20)])
    assert [answer.text for answer in answers] == [f"text {n}"[::-1] for n in range(20)]
    assert server.most_at_once == 3


def test_no_requests_make_no_connection() -> None:
    nowhere = OpenAIChat(Chat(engine="openai", model="m"), Endpoint(url="http://127.0.0.1:9/v1"))
    assert nowhere.complete([]) == []


def test_400_is_not_tried_again(server: Server) -> None:
    server.script = [fails(400, "too long")]
    with pytest.raises(ModelError, match="too long") as raised:
        model(server).complete([ask()])
    assert not raised.value.transient
    assert len(server.seen) == 1


def test_one_failure_ends_all_requests(server: Server) -> None:
    server.by = lambda body: fails(404) if body["messages"][-1]["content"] == "text 0" else says("ok")
    server.delay = 0.05
    with pytest.raises(ModelError, match="404"):
        model(server, concurrency=1).complete([ask(f"text {n}") for n in range(50)])
    assert len(server.seen) < 5


def test_a_wrong_key_is_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    server.script = [fails(401, f"Incorrect API key provided: {KEY}")]
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelError) as raised:
        model(server, api_key_env="TEST_KEY").complete([ask()])
    assert server.keys == [f"Bearer {KEY}"]
    assert "401" in raised.value.what
    assert "api_key_env" in raised.value.hint
    assert not raised.value.transient
    assert KEY not in str(raised.value)
    assert KEY not in caplog.text


def test_a_key_never_follows_a_redirection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    elsewhere = Server()
    try:
        server.script = [fails(307, location=f"{elsewhere.url}/chat/completions")]
        with pytest.raises(ModelError, match="status 307") as raised:
            model(server, api_key_env="TEST_KEY").complete([ask()])
        assert "address" in raised.value.hint and not raised.value.transient
        assert elsewhere.seen == []
    finally:
        elsewhere.close()


def test_the_line_break_after_a_key_is_no_part_of_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", f"{KEY}\n")
    model(server, api_key_env="TEST_KEY").complete([ask()])
    assert server.keys == [f"Bearer {KEY}"]
    monkeypatch.setenv("TEST_KEY", f"{KEY}\nX-Other: 1")
    with pytest.raises(ModelError, match="TEST_KEY holds no key that can be sent") as raised:
        model(server, api_key_env="TEST_KEY")
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "http://[::1/v1", ""])
def test_an_address_that_is_none_is_a_permanent_error(url: str) -> None:
    asked = OpenAIChat(Chat(engine="openai", model="m"), Endpoint(url=url, deadline_s=60))
    with pytest.raises(ModelError, match="address is none") as raised:
        asked.complete([ask()])
    assert not raised.value.transient


@pytest.mark.parametrize(
    "body", [{"error": {"message": "no room"}}, {"message": "no room", "object": "error"}, b"no room"]
)
def test_the_endpoints_own_words_are_told_whatever_their_form(server: Server, body: Any) -> None:
    server.script = [lambda handler, _: handler.reply(404, body)]
    with pytest.raises(ModelError, match="status 404: no room"):
        model(server).complete([ask()])


def test_a_key_that_is_not_set_is_an_error_before_anything_is_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(ModelError, match="TEST_KEY"):
        model(server, api_key_env="TEST_KEY")
    assert server.seen == []


def test_a_schema_is_sent_and_a_good_answer_is_asked_for_once(server: Server) -> None:
    server.script = [says('<think>hm</think>\n```json\n{"verdict": "good"}\n```')]
    [answer] = model(server).complete([ask(schema=SCHEMA)])
    assert json.loads(answer.text) == {"verdict": "good"}
    [body] = server.seen
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    "wrong", ["I think it is good.", '{"verdict": "fine"}', '{"verdict": "good"', "", None, "很好"]
)
def test_a_wrong_answer_is_repaired_once(server: Server, wrong: str | None) -> None:
    server.script = [says(wrong), says('{"verdict": "bad"}')]
    asked = model(server)
    [answer] = asked.complete([ask(schema=SCHEMA)])
    assert json.loads(answer.text) == {"verdict": "bad"}
    first, second = server.seen
    assert second["messages"][:-2] == first["messages"]
    assert second["messages"][-2]["content"] == (wrong or "")
    assert "no valid answer" in second["messages"][-1]["content"]
    counts = asked.usage.counts()
    assert counts["repaired"] == 1 and "invalid" not in counts
    assert counts.get("empty", 0) == (not wrong) and counts.get("foreign", 0) == (wrong == "很好")


@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_what_stays_wrong_is_handed_on_and_counted(server: Server, schema: dict[str, Any] | None) -> None:
    said = "no idea" if schema else " "
    server.script = [says(said)]
    asked = model(server)
    assert asked.complete([ask(schema=schema)])[0].text == said
    assert len(server.seen) == 2
    counts = asked.usage.counts()
    assert (counts["requests"], counts["sent"], counts["repaired"], counts["invalid"]) == (1, 2, 1, 1)


def test_another_language_is_counted(server: Server) -> None:
    server.script = [says("图像显示微动脉瘤。"), says("Blutungen in allen vier Quadranten"), says("β-peak")]
    asked = model(server, concurrency=1)
    assert len(asked.complete([ask()] * 3)) == 3
    assert asked.usage.counts()["foreign"] == 1


def test_a_server_without_structured_output_is_asked_plainly(server: Server) -> None:
    def reply(body: dict[str, Any]) -> Behaviour:
        if "response_format" in body:
            return fails(400, "response_format.type json_schema is not supported")
        return says('{"verdict": "good"}')

    server.by = reply
    asked = model(server, concurrency=1)
    answers = asked.complete([ask(schema=SCHEMA)] * 3)
    assert [json.loads(answer.text) for answer in answers] == [{"verdict": "good"}] * 3
    assert ["response_format" in body for body in server.seen] == [True, False, False, False]
    assert "retried" not in asked.usage.counts()


@pytest.mark.parametrize("body", [b"<html>hello</html>", {"detail": "ok"}, ["no"], {"choices": ["no"]}])
def test_a_page_that_is_no_answer_is_a_permanent_error(server: Server, body: Any) -> None:
    server.script = [gives(body)]
    with pytest.raises(ModelError, match="no chat completion") as raised:
        model(server).complete([ask()])
    assert not raised.value.transient
    assert "/v1" in raised.value.hint


def test_many_threads_share_one_connection_and_its_bound(server: Server) -> None:
    server.by = lambda body: says(body["messages"][-1]["content"])
    server.delay = 0.02
    shared = model(server, concurrency=4)
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: texts.extend(a.text for a in shared.complete([ask(str(n))] * 3)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == sorted(str(n) for n in range(8) for _ in range(3))
    assert server.most_at_once == 4
    assert len(server.connections) <= 4
    shared.close()


def test_a_closed_model_leaves_no_thread_and_can_be_asked_again(server: Server) -> None:
    asked = model(server)
    asked.complete([ask()])
    loop = asked._connection._loop._loop
    assert loop is not None
    asked.close()
    asked.close()
    assert loop.is_closed()
    assert asked.complete([ask()])[0].text == "yes"


def test_a_model_that_nobody_closes_ends_with_its_last_reference(server: Server) -> None:
    asked = model(server)
    asked.complete([ask()])
    loop = asked._connection._loop._loop
    assert loop is not None and loop.is_running()
    del asked
    assert not loop.is_running()
