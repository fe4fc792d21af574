from __future__ import annotations

from typing import Any

import pytest

from fundus_r1.errors import ModelError, StageError
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.models.rules import RulesModel
from fundus_r1.rows import Knowledge, Trace
from fundus_r1.spec import Science
from fundus_r1.stages import traces
from fundus_r1.stages.traces import STAGE


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
    assert output.record.models == {"writer": "rules"}


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
    monkeypatch.setattr(traces, "open_chat", lambda *_: next(models))
    with pytest.raises(ModelError):
        world.run(STAGE, science)
    output = world.run(STAGE, science)
    assert 0 < len(first.asked) < len(world.triplets)
    assert len(first.asked) + len(second.asked) == len(world.triplets)
    rows = list(output.read_rows("traces.jsonl", Trace))
    assert [row.triplet_id for row in rows] == [triplet.triplet_id for triplet in world.triplets]


def test_the_prompt_holds_the_findings_and_the_knowledge(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Fails(calls=None)
    monkeypatch.setattr(traces, "open_chat", lambda *_: model)
    world.run(STAGE, science)
    [(role, text)] = model.asked[0].messages
    assert role == "user"
    for part in ("- microaneurysms\n- retinal hemorrhages\n", "D of moderate_npdr", "Moderate NPDR", "CFP"):
        assert part in text
    assert "$" not in text
