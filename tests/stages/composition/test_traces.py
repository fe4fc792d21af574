from __future__ import annotations

from typing import Any

import pytest

from fundus_r1.errors import ModelError, StageError
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.models.rules import RulesModel
from fundus_r1.rows import Knowledge, Reason, Trace, Verdict
from fundus_r1.spec import Science
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint, Endpoints
from fundus_r1.stages import writing
from fundus_r1.stages.batches import BATCH
from fundus_r1.stages.quality import STAGE as QUALITY
from fundus_r1.stages.traces import STAGE
from fundus_r1.stages.writing import open_writer


def test_each_triplet_with_findings_gets_a_trace_in_order(world: Any, science: Science) -> None:
    output = world.run(STAGE, science)
    rows = list(output.read_rows("traces.jsonl", Trace))
    assert [row.triplet_id for row in rows] == [triplet.triplet_id for triplet in world.triplets]
    by_sample = {row.sample_id: row for row in world.findings}
    for row in rows:
        assert row.findings == by_sample[row.sample_id].present
        assert row.source == by_sample[row.sample_id].source
        assert row.text.startswith("<think>") and row.model == "rules"
    assert output.record.counts["traces"] == len(rows)
    assert output.record.counts["malformed"] == 0
    assert output.record.models == {"writer": "rules"}
    assert list(output.read_rows("free.jsonl", Trace)) == []


def test_a_triplet_whose_image_has_no_findings_gets_none(world: Any, science: Science) -> None:
    world.findings = world.findings[1:]
    world.begin()
    rows = list(world.run(STAGE, science).read_rows("traces.jsonl", Trace))
    assert [row.triplet_id for row in rows] == [triplet.triplet_id for triplet in world.triplets[1:]]


def test_a_label_without_knowledge_is_an_error_that_names_it(world: Any, science: Science) -> None:
    world.put("knowledge", lambda writer: writer.write_rows("knowledge.jsonl", list[Knowledge]()))
    with pytest.raises(StageError, match="no knowledge of moderate_npdr on CFP"):
        world.run(STAGE, science)


class Fails(RulesModel):
    """Answers some requests and is then gone."""

    def __init__(self, calls: int | None):
        super().__init__()
        self.calls = calls
        self.asked: list[ChatRequest] = []

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        if self.calls == 0:
            raise ModelError("gone", transient=True)
        if self.calls:
            self.calls -= 1
        self.asked += requests
        return super().complete(requests)


def test_what_a_try_that_died_has_paid_for_is_not_asked_again(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Fails(calls=1), Fails(calls=None)
    models = iter([first, second])
    monkeypatch.setattr(writing, "open_chat", lambda *_, **__: next(models))
    with pytest.raises(ModelError):
        world.run(STAGE, science)
    output = world.run(STAGE, science)
    assert 0 < len(first.asked) < len(world.triplets)
    assert len(first.asked) + len(second.asked) == len(world.triplets)
    rows = list(output.read_rows("traces.jsonl", Trace))
    assert [row.triplet_id for row in rows] == [triplet.triplet_id for triplet in world.triplets]


class Rambles(RulesModel):
    """Gives every second trace an answer of no use."""

    USELESS = (
        "",
        "   ",
        "对不起",
        "I cannot see the image.",
        "<think>no end",
        "<think>中度。</think> <answer>PDR</answer>",
    )

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        return [
            ChatAnswer(self.USELESS[n % len(self.USELESS)], "rambler") if n % 2 else answer
            for n, answer in enumerate(super().complete(requests))
        ]


def test_an_answer_of_no_use_costs_one_trace_and_is_rejected_for_its_format(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "open_chat", lambda *_, **__: Rambles())
    output = world.run(STAGE, science)
    rows = list(output.read_rows("traces.jsonl", Trace))
    assert [row.triplet_id for row in rows] == [triplet.triplet_id for triplet in world.triplets]
    useless = {row.triplet_id for row in rows if row.model == "rambler"}
    assert output.record.counts["malformed"] == len(useless) > 0
    assert output.record.models == {"writer": "rambler, rules"}
    verdicts = world.run(QUALITY, science).read_rows("verdicts.jsonl", Verdict)
    for verdict in verdicts:
        assert (Reason.FORMAT in dict(verdict.rules)) == (verdict.triplet_id in useless)
        assert verdict.accepted == (world.deserves[verdict.triplet_id] and verdict.triplet_id not in useless)


def test_a_run_without_triplets_opens_no_model(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "open_chat", None)
    world.triplets = []
    world.begin()
    output = world.run(STAGE, science)
    assert output.record.counts["traces"] == 0 and output.record.models == {}
    assert world.run(QUALITY, science).read_json("funnel.json")["traces"] == 0


def test_the_writer_is_kept_busy_up_to_the_concurrency_of_its_endpoint(world: Any, science: Science) -> None:
    ctx = world.context(STAGE, science)
    assert open_writer(ctx, science.models.writer).lanes == 1
    endpoints = Endpoints(writer=Endpoint(url="http://127.0.0.1:9/v1", concurrency=3 * BATCH))
    ctx.placement = ctx.placement.model_copy(update={"endpoints": endpoints})
    assert open_writer(ctx, Chat(engine="openai", model="m")).lanes == 5
    assert open_writer(ctx, science.models.writer).lanes == 1


def test_the_prompt_holds_the_findings_and_the_knowledge(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Fails(calls=None)
    monkeypatch.setattr(writing, "open_chat", lambda *_, **__: model)
    world.run(STAGE, science)
    [(role, text)] = model.asked[0].messages
    assert role == "user"
    for part in ("- microaneurysms\n- retinal hemorrhages\n", "D of moderate_npdr", "Moderate NPDR", "CFP"):
        assert part in text
    assert "$" not in text
