"""Answers are kept in a real folder store, and an endpoint is not asked what it has answered."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.errors import StoreError
from fundus_r1.models.chat import open_chat
from fundus_r1.models.openai_http import OpenAIChat
from fundus_r1.models.openai_vision import OpenAIVision
from fundus_r1.models.protocol import ChatModel, ChatRequest, VisionRequest
from fundus_r1.models.vision import open_vision
from fundus_r1.spec import Placement
from fundus_r1.spec.models import Chat, ServedModel
from fundus_r1.spec.placement import Endpoint
from fundus_r1.storage.folder import FolderStore
from tests.models.servers import Server, fails, says

CHAT = Chat(engine="openai", model="writer")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def ask(text: str = "hello", schema: dict[str, Any] | None = None) -> ChatRequest:
    return ChatRequest("check", (("user", text),), schema=schema)


def look(**changes: Any) -> VisionRequest:
    values = {"image": b"\x89PNG", "prompt": "?", "n": 2, "max_tokens": 5, "temperature": 1.0, "seed": 3}
    return VisionRequest(**{**values, **changes})


def writer(server: Server, store: FolderStore, chat: Chat = CHAT, role: str = "writer") -> ChatModel:
    return open_chat(chat, Endpoint(url=server.url, deadline_s=60), role=role, store=store)


def vision(server: Server, store: FolderStore) -> OpenAIVision:
    place = Endpoint(url=server.url, deadline_s=60)
    opened = open_vision(ServedModel(name="eye"), Placement(), place, role="observer", store=store)
    assert isinstance(opened, OpenAIVision)
    return opened


def test_a_second_run_asks_nothing(server: Server, store: FolderStore) -> None:
    server.by = lambda body: says(body["messages"][0]["content"][::-1])
    requests = [ask(f"text {n}") for n in range(30)]
    first = writer(server, store).complete(requests)
    seen = len(server.seen)
    again = writer(server, store)
    assert again.complete(requests) == first
    assert len(server.seen) == seen == 30
    assert again.usage.counts() == {"cached": 30}
    # A dead endpoint is not even noticed.
    server.away()
    assert writer(server, store).complete(requests) == first


def test_answers_about_images_are_kept_by_what_the_image_is(server: Server, store: FolderStore) -> None:
    [first] = vision(server, store).generate([look()])
    again = vision(server, store)
    assert list(again.generate([look()])) == [first]
    assert again.usage.counts() == {"cached": 1} and len(server.seen) == 1
    others = [
        {"image": b"\x89PNG2"},
        {"seed": 4},
        {"n": 1},
        {"prompt": "!"},
        {"schema": {}},
        {"temperature": 0.5},
    ]
    for number, change in enumerate(others):
        list(vision(server, store).generate([look(**change)]))
        assert len(server.seen) == 2 + number
    assert "PNG" not in "".join(store.list("responses/"))


@pytest.mark.parametrize(
    ("chat", "request_", "role"),
    [
        (CHAT.model_copy(update={"model": "other"}), ask(), "writer"),
        (CHAT.model_copy(update={"temperature": 0.5}), ask(), "writer"),
        (CHAT.model_copy(update={"max_tokens": 5}), ask(), "writer"),
        (CHAT, ask("hello?"), "writer"),
        (CHAT, ask(schema={}), "writer"),
        (CHAT, ask(), "judge"),
    ],
)
def test_whatever_changes_the_question_is_another_question(
    server: Server, store: FolderStore, chat: Chat, request_: ChatRequest, role: str
) -> None:
    server.script = [says("1")]
    writer(server, store).complete([ask()])
    writer(server, store, chat, role).complete([request_])
    assert len(server.seen) == 2


@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_what_is_no_answer_is_not_kept(
    server: Server, store: FolderStore, schema: dict[str, Any] | None
) -> None:
    server.script = [says("" if schema is None else '{"n": "one"}')]
    for _ in range(2):
        writer(server, store).complete([ask(schema=schema)])
    list(vision(server, store).generate([look(schema=schema)]))
    assert len(server.seen) == 5
    assert list(store.list("responses/")) == []


def test_an_answer_that_was_repaired_is_kept_as_it_was_handed_on(server: Server, store: FolderStore) -> None:
    server.script = [says("no"), says('```json\n{"n": 1}\n```')]
    [first] = writer(server, store).complete([ask(schema=SCHEMA)])
    assert first.text == '{"n": 1}'
    assert writer(server, store).complete([ask(schema=SCHEMA)]) == [first]
    assert len(server.seen) == 2


@pytest.mark.parametrize("damage", ["cut", "text", "other", "not json"])
def test_a_damaged_answer_is_asked_for_again(
    server: Server, store: FolderStore, tmp_path: Path, damage: str
) -> None:
    writer(server, store).complete([ask(), ask("another")])
    key, other = sorted(store.list("responses/"))
    assert key.startswith("responses/writer/") and len(key.split("/")) == 4
    whole = store.get(key)
    assert whole is not None
    damaged = {
        "cut": whole[:-9],
        "text": json.dumps(json.loads(whole) | {"texts": ["no"]}).encode(),
        "other": store.get(other) or b"",
        "not json": b"\x00" * 20,
    }[damage]
    store.put(key, damaged)
    asked = writer(server, store)
    assert [answer.text for answer in asked.complete([ask(), ask("another")])] == ["yes", "yes"]
    counts = asked.usage.counts()
    assert (counts["cached"], counts["cache_damaged"], counts["requests"]) == (1, 1, 1)
    assert writer(server, store).complete([ask()])[0].text == "yes"
    assert len(server.seen) == 3


def test_what_was_answered_beside_a_refusal_is_kept(server: Server, store: FolderStore) -> None:
    server.by = lambda body: fails(400) if body["messages"][0]["content"] == "bad" else says("ok")
    place = Endpoint(url=server.url, concurrency=1)
    asked = OpenAIChat(CHAT, place, store=store)
    texts = [answer.text for answer in asked.complete([ask("one"), ask("bad"), ask("two")])]
    assert texts == ["ok", "", "ok"]
    again = OpenAIChat(CHAT, place, store=store)
    again.complete([ask("one"), ask("bad"), ask("two")])
    assert again.usage.counts()["cached"] == 2


class Lost(FolderStore):
    """A store that is away."""

    def __init__(self, folder: Path, transient: bool):
        super().__init__(folder)
        self.transient = transient
        self.asked = 0

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        raise StoreError("the store is away", transient=self.transient)

    def put(self, key: str, data: bytes, **_: Any) -> str:
        raise StoreError("the store is away", transient=self.transient)


def test_a_lost_store_costs_no_answer(server: Server, tmp_path: Path) -> None:
    store = Lost(tmp_path / "lost", transient=True)
    asked = writer(server, store)
    assert len(asked.complete([ask(str(n)) for n in range(200)])) == 200
    counts = asked.usage.counts()
    assert counts["requests"] == 200 and counts["cache_failed"] == 400
    # It is left alone for a while after the first failures.
    assert store.asked <= 150


def test_a_store_that_refuses_is_an_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="away"):
        writer(server, Lost(tmp_path / "lost", transient=False)).complete([ask()])


def test_writes_do_not_hold_up_answers_but_are_waited_for(server: Server, tmp_path: Path) -> None:
    let = threading.Event()
    written: list[str] = []

    class Slow(FolderStore):
        def put(self, key: str, data: bytes, **conditions: Any) -> str:
            let.wait(10)
            written.append(key)
            return super().put(key, data, **conditions)

    server.by = lambda body: says("ok")
    work = threading.Thread(
        target=writer(server, Slow(tmp_path / "slow")).complete, args=([ask(str(n)) for n in range(40)],)
    )
    work.start()
    for _ in range(500):
        if len(server.seen) == 40:
            break
        work.join(0.01)
    assert len(server.seen) == 40 and work.is_alive() and not written
    let.set()
    work.join(10)
    assert len(written) == 40
