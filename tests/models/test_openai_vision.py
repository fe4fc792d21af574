"""The vision client against a real HTTP server on loopback that answers by a script."""

from __future__ import annotations

import base64
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fundus_r1.errors import DataError, ModelError
from fundus_r1.models.breaker import Pace
from fundus_r1.models.connection import AHEAD
from fundus_r1.models.openai_vision import OpenAIVision
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.spec.placement import Endpoint
from tests.models.servers import Behaviour, Server, completion, fails, gives, says

PNG = b"\x89PNG rest"
SCHEMA = {"type": "object", "properties": {"drusen": {"enum": ["present", "absent"]}}, "required": ["drusen"]}
QUICK = Pace(first_s=0.01, most_s=0.05)


def backwards(body: dict[str, Any]) -> Behaviour:
    return says(body["messages"][0]["content"][1]["text"][::-1], model="eye-2")


def request(prompt: str, **changes: Any) -> VisionRequest:
    values = {"image": PNG, "prompt": prompt, "n": 1, "max_tokens": 5, "temperature": 0.0, "seed": 3}
    return VisionRequest(**{**values, **changes})


def vision(server: Server, **place: Any) -> OpenAIVision:
    return OpenAIVision(Endpoint(url=server.url, **({"deadline_s": 60} | place)), "eye", pace=QUICK)


def asked(model: OpenAIVision, *requests: VisionRequest) -> list[VisionAnswer]:
    return list(model.generate(requests))


def test_answers_come_in_the_order_of_the_requests(server: Server) -> None:
    server.by = backwards
    model = vision(server)
    answers = asked(model, *(request(f"prompt {n}") for n in range(20)))
    assert [answer.texts for answer in answers] == [(f"prompt {n}"[::-1],) for n in range(20)]
    assert {answer.model for answer in answers} == {"eye-2"}
    assert asked(model) == []


def test_an_image_that_is_refused_by_itself_gets_empty_texts(server: Server) -> None:
    def reply(body: dict[str, Any]) -> Behaviour:
        text = body["messages"][0]["content"][1]["text"]
        return fails(400, "inappropriate image") if text == "bad" else says(text)

    server.by = reply
    model = vision(server)
    answers = asked(model, request("a", n=3), request("bad", n=3), request("b", n=3))
    assert [answer.texts for answer in answers] == [("a",) * 3, ("",) * 3, ("b",) * 3]
    assert model.usage.counts()["refused"] == 1


def test_what_is_sent(server: Server) -> None:
    asked(
        vision(server),
        request("x", n=2, schema={"type": "object"}), request("x", image=b"\xff\xd8\xff jpeg"),
    )  # fmt: skip
    png, jpeg = sorted(server.seen, key=lambda sent: -sent["n"])
    assert png["model"] == "eye"
    assert (png["n"], png["max_tokens"], png["temperature"], png["seed"]) == (2, 5, 0.0, 3)
    assert png["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "response_format" not in jpeg
    picture, text = png["messages"][0]["content"]
    assert text == {"type": "text", "text": "x"}
    assert picture["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert jpeg["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_several_answers_to_one_request(server: Server) -> None:
    server.by = backwards
    (answer,) = asked(vision(server), request("ab", n=3))
    assert answer.texts == ("ba", "ba", "ba")
    assert len(server.seen) == 1


def test_a_server_that_ignores_n_is_asked_for_the_others_with_other_seeds(server: Server) -> None:
    server.by = lambda body: gives(completion([f"seed {body['seed']}"]))
    model = vision(server)
    first, second = asked(model, request("x", n=5, seed=1), request("x", n=5, seed=2))
    assert len(server.seen) == 10
    # Neighbouring seeds of requests share none of their rollouts.
    assert len({*first.texts, *second.texts}) == 10
    assert asked(model, request("x", n=5, seed=1)) == [first]
    assert model.usage.counts()["refilled"] == 12


def test_a_server_that_refuses_n_is_not_asked_for_it_again(server: Server) -> None:
    def reply(body: dict[str, Any]) -> Behaviour:
        return fails(400, "Invalid value: n must be 1") if body.get("n", 1) > 1 else says("ok")

    server.by = reply
    first, second = asked(vision(server, concurrency=1), request("x", n=3), request("y", n=3))
    assert first.texts == second.texts == ("ok",) * 3
    assert [body.get("n") for body in server.seen] == [3] + [None] * 6


def test_more_answers_than_asked_for_are_cut(server: Server) -> None:
    server.script = [gives(completion(["a", "b", "c"]))]
    assert asked(vision(server), request("x", n=2))[0].texts == ("a", "b")


def test_what_breaks_its_schema_is_handed_on_as_it_is_and_counted(server: Server) -> None:
    said = [
        '{"drusen": "present"}',
        "drusen: present",
        None,
        "这里有玻璃膜疣",
        '```json\n{"drusen": "absent"}\n```',
    ]
    server.script = [gives(completion(said))]
    model = vision(server)
    (answer,) = asked(model, request("x", n=5, schema=SCHEMA))
    assert answer.texts == tuple(text or "" for text in said)
    assert len(server.seen) == 1
    counts = model.usage.counts()
    assert (counts["requests"], counts["invalid"], counts["empty"], counts["foreign"]) == (1, 3, 1, 1)


def test_no_more_requests_at_once_than_the_endpoint_takes(server: Server) -> None:
    server.hold.clear()

    def release_a_while_after_the_third() -> None:
        give_up = time.monotonic() + 4
        while server.at_once < 3 and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(0.2)
        server.hold.set()

    threading.Thread(target=release_a_while_after_the_third).start()
    asked(vision(server, concurrency=3), *[request("x")] * 9)
    assert server.most_at_once == 3


def test_a_stream_without_end_is_read_as_far_as_it_is_used(server: Server) -> None:
    server.by = backwards
    taken = itertools.count()

    def for_ever() -> Iterator[VisionRequest]:
        for number in taken:
            yield request(f"prompt {number}")

    answers = vision(server, concurrency=2).generate(for_ever())
    assert [answer.texts[0] for answer in itertools.islice(answers, 10)] == [
        f"prompt {n}"[::-1] for n in range(10)
    ]
    answers.close()  # type: ignore[attr-defined]
    assert next(taken) <= 10 + 2 * AHEAD
    count = len(server.seen)
    time.sleep(0.1)
    assert len(server.seen) <= count + 2


def test_a_slow_first_request_holds_up_no_others(server: Server) -> None:
    def reply(body: dict[str, Any]) -> Behaviour:
        first = body["messages"][0]["content"][1]["text"] == "0"

        def behave(handler: Any, body: dict[str, Any]) -> None:
            give_up = time.monotonic() + 5
            while first and len(server.seen) < 2 * AHEAD and time.monotonic() < give_up:
                time.sleep(0.01)
            says("ok")(handler, body)

        return behave

    server.by = reply
    answers = vision(server, concurrency=2).generate(request(str(n)) for n in range(30))
    next(answers)
    assert len(server.seen) >= 2 * AHEAD
    assert len(list(answers)) == 29


def test_an_image_that_cannot_be_read_ends_the_stream_with_its_error(server: Server) -> None:
    def broken() -> Iterator[VisionRequest]:
        yield request("a")
        raise DataError("the file is gone")

    with pytest.raises(DataError, match="gone"):
        list(vision(server).generate(broken()))


def test_the_only_model_is_found(server: Server) -> None:
    assert OpenAIVision(Endpoint(url=server.url)).model == "served"


def test_several_models_must_be_told_apart(server: Server) -> None:
    server.models = ["eye", "ear"]
    with pytest.raises(ModelError, match="2 models: eye, ear"):
        OpenAIVision(Endpoint(url=server.url))


def test_a_page_instead_of_a_list_of_models_is_a_permanent_error(server: Server) -> None:
    with pytest.raises(ModelError, match="no list of models") as caught:
        OpenAIVision(Endpoint(url=server.url.removesuffix("/v1") + "/page"))
    assert not caught.value.transient and "/v1" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "transient", "hint"),
    [(401, False, "key"), (404, False, "/v1"), (400, False, "such a request"), (503, True, "later")],
)
def test_failures_are_readable(server: Server, status: int, transient: bool, hint: str) -> None:
    server.script = [fails(status, "the server's words")]
    with pytest.raises(ModelError, match=f"status {status}.*the server's words") as caught:
        asked(vision(server, deadline_s=2 if transient else 60), *[request("x")] * 2)
    assert caught.value.transient is transient
    assert hint in caught.value.hint
    assert caught.value.where == server.url


def test_the_key_is_sent_and_never_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYE_KEY", "sesame-123")
    server.script = [fails(401, "sesame-123 is no key")]
    with pytest.raises(ModelError) as caught:
        asked(vision(server, api_key_env="EYE_KEY"), request("x"))
    assert server.keys == ["Bearer sesame-123"]
    assert "sesame-123" not in str(caught.value)


def test_a_missing_key_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EYE_KEY", raising=False)
    with pytest.raises(ModelError, match="EYE_KEY holds no key"):
        vision(server, api_key_env="EYE_KEY")
