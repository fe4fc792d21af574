"""What an endpoint may do wrong, each by a server that does it: nothing is lost, nothing hangs."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.models.breaker import Pace
from fundus_r1.models.openai_http import OpenAIChat
from fundus_r1.models.protocol import ChatRequest
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from tests.models.servers import (
    Behaviour,
    Server,
    fails,
    gives,
    half_a_json,
    half_an_answer,
    hangs,
    resets,
    says,
)

QUICK = Pace(first_s=0.02, most_s=0.1, open_after=4)


def model(url: str, pace: Pace = QUICK, **place: Any) -> OpenAIChat:
    place = {"deadline_s": 60, "timeout_s": 20} | place
    return OpenAIChat(Chat(engine="openai", model="m"), Endpoint(url=url, **place), pace=pace)


def ask(text: str = "hello") -> ChatRequest:
    return ChatRequest("check", (("user", text),))


def echo(body: dict[str, Any]) -> Behaviour:
    return says(body["messages"][-1]["content"])


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (fails(408), "408"),
        (fails(409), "409"),
        (fails(429), "429"),
        (fails(500), "500"),
        (fails(503), "503"),
        (resets, "reset"),
        (half_an_answer, "reset"),
        (half_a_json, "broken"),
        (gives(b""), "broken"),
        (gives({"choices": []}), "empty"),
        (gives({"error": {"code": 502, "message": "the provider is away"}}), "502"),
        (hangs, "timeout"),
    ],
)
def test_what_passes_costs_a_further_try_and_no_answer(server: Server, failure: Behaviour, kind: str) -> None:
    failed: set[str] = set()
    lock = threading.Lock()

    def reply(body: dict[str, Any]) -> Behaviour:
        text = body["messages"][-1]["content"]
        with lock:
            fresh = text.endswith(("2", "5")) and text not in failed
            failed.add(text)
        return failure if fresh else says(text)

    server.by = reply
    asked = model(server.url, timeout_s=2 if failure is hangs else 20, deadline_s=60)
    texts = [f"text {n}" for n in range(10)]
    assert [answer.text for answer in asked.complete([ask(text) for text in texts])] == texts
    counts = asked.usage.counts()
    assert (counts["requests"], counts["retried"], counts[f"met_{kind}"]) == (10, 2, 2), counts
    asked.close()


def test_retry_after_is_respected_by_all_requests(server: Server) -> None:
    server.script = [fails(429, "slow down", retry_after="0.4"), says("ok")]
    server.delay = 0.01
    assert len(model(server.url, concurrency=1).complete([ask()] * 6)) == 6
    # Others that wait for their turn come before the second try of the first, and wait all the same.
    assert min(at - server.times[0] for at in server.times[1:]) >= 0.4


def test_many_requests_at_once_become_fewer_where_the_endpoint_takes_only_few(server: Server) -> None:
    most = 4

    def reply(body: dict[str, Any]) -> Behaviour:
        return fails(429, "too many") if server.at_once > most else says("ok")

    server.by = reply
    server.delay = 0.01
    asked = model(server.url, concurrency=64)
    assert len(asked.complete([ask()] * 150)) == 150
    assert 0 < asked.usage.counts()["met_429"] < 100
    assert int(asked._connection.limiter.limit) <= 16


def test_an_endpoint_that_is_away_for_a_while_costs_only_time(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.by = echo
    server.delay = 0.02
    asked = model(server.url, concurrency=8)
    texts = [str(n) for n in range(120)]
    said: list[str] = []
    work = threading.Thread(
        target=lambda: said.extend(a.text for a in asked.complete([ask(t) for t in texts]))
    )
    work.start()
    while len(server.seen) < 30:
        time.sleep(0.005)
    server.away()
    time.sleep(1.0)
    seen = len(server.seen)
    server.back()
    work.join(30)
    assert said == texts
    # Those that were dropped were asked again, and nobody else.
    assert len(server.seen) <= len(texts) + 8 and seen < len(texts)
    counts = asked.usage.counts()
    assert counts["requests"] == 120 and 1 <= counts["outages"] <= 2
    # A second of an endpoint that is away, at one try each 0.1 s after the first failures of each request.
    assert counts["met_connect"] <= 40
    told = [record.message for record in caplog.records]
    assert told[0].startswith(f"The endpoint {server.url} does not answer (4 failures")
    assert told[-1] == f"The endpoint {server.url} answers again"


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (hangs, r"did not answer within 0\.4 s"),
        (fails(500, "overloaded"), "status 500: overloaded"),
        (fails(429, "quota"), "status 429: quota"),
        (fails(429, "quota", retry_after="3600"), "status 429: quota"),
        (resets, "connection broke"),
        (half_a_json, "cut after 60 bytes"),
        (gives({"choices": []}), "without a choice"),
    ],
)
def test_what_stays_is_given_up_at_the_deadline(server: Server, failure: Behaviour, told: str) -> None:
    server.script = [failure]
    # On a busy machine an answer takes its time; only who hangs is to be given up for that.
    timeout_s = 0.4 if failure is hangs else 3.0
    asked = model(server.url, timeout_s=timeout_s, deadline_s=3.0, concurrency=2)
    started = time.monotonic()
    with pytest.raises(ModelError, match=told) as raised:
        asked.complete([ask()] * 20)
    assert time.monotonic() - started < 10
    assert raised.value.transient
    assert raised.value.where == server.url
    assert "since" in raised.value.what and "deadline of 3 s" in raised.value.what
    assert "deadline_s" in raised.value.hint
    asked.close()


def test_an_endpoint_that_is_away_for_good_is_given_up_at_the_deadline() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = model(f"http://127.0.0.1:{port}/v1", deadline_s=0.6, concurrency=4)
    with pytest.raises(ModelError, match="cannot be reached") as raised:
        asked.complete([ask()] * 50)
    assert raised.value.transient and str(port) in str(raised.value)
    # One request at a time tried it, after the first few.
    assert asked.usage.counts()["met_connect"] < 25


def test_a_request_that_waits_for_its_turn_is_not_given_up_while_others_are_answered(server: Server) -> None:
    server.delay = 0.2
    asked = model(server.url, deadline_s=1.0, concurrency=1)
    assert len(asked.complete([ask()] * 8)) == 8


def test_a_request_that_fails_alone_is_given_up_while_others_are_answered(server: Server) -> None:
    def reply(body: dict[str, Any]) -> Behaviour:
        return fails(500, "this image breaks me") if body["messages"][-1]["content"] == "bad" else says("ok")

    server.by = reply
    server.delay = 0.01
    asked = model(server.url, Pace(first_s=0.02, most_s=0.05, tries=3), deadline_s=60, concurrency=4)
    over = threading.Event()

    def go_on_asking() -> None:
        while not over.is_set():
            asked.complete([ask("good")] * 4)

    others = threading.Thread(target=go_on_asking)
    others.start()
    try:
        assert [answer.text for answer in asked.complete([ask("bad"), ask("good")])] == ["", "ok"]
    finally:
        over.set()
        others.join()
    assert asked.usage.counts()["refused"] == 1
    assert asked.usage.counts()["met_500"] >= 3
    asked.close()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_by_itself_gets_an_empty_answer_and_is_counted(
    server: Server, status: int
) -> None:
    server.by = lambda body: fails(status) if body["messages"][-1]["content"] == "bad" else says("ok")
    asked = model(server.url)
    texts = [answer.text for answer in asked.complete([ask("bad"), *[ask("good")] * 3, ask("bad")])]
    assert texts == ["", "ok", "ok", "ok", ""]
    assert asked.usage.counts()["refused"] == 2
    asked.close()


def test_a_refusal_is_an_error_where_the_endpoint_answers_nothing(server: Server) -> None:
    server.by = lambda body: fails(400, "no such field")
    asked = model(server.url)
    with pytest.raises(ModelError, match="no such field"):
        asked.complete([ask("one"), ask("two")])
    asked.close()


def test_a_repair_that_hangs_ends_at_the_deadline_of_its_request(server: Server) -> None:
    server.script = [says("no json"), hangs]
    asked = model(server.url, deadline_s=0.6, timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(ModelError, match="deadline"):
        asked.complete([ChatRequest("check", (("user", "x"),), schema={"type": "object"})])
    assert time.monotonic() - started < 5
    asked.close()


def test_a_call_that_is_given_up_leaves_room_for_the_next(server: Server) -> None:
    server.by = lambda body: hangs if body["messages"][-1]["content"] == "bad" else says("ok")
    asked = model(server.url, deadline_s=2.5, timeout_s=10, concurrency=2)
    for _ in range(2):
        with pytest.raises(ModelError):
            asked.complete([ask("bad")] * 5)
        assert len(asked.complete([ask("good")] * 5)) == 5
    asked.close()
