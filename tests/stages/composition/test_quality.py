from __future__ import annotations

import json
from typing import Any

import pytest

from fundus_r1.errors import StageError
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.rows import Reason, Trace, Verdict
from fundus_r1.spec import Science
from fundus_r1.stages import quality
from fundus_r1.stages.quality import STAGE
from fundus_r1.stages.traces import STAGE as TRACES


def with_writer(science: Science) -> Science:
    tree = science.model_dump()
    tree["quality"]["checks"] = "rules+writer"
    return Science.model_validate(tree)


def verdicts_of(output: Any) -> list[Verdict]:
    return list(output.read_rows("verdicts.jsonl", Verdict))


def test_consistent_findings_pass_and_others_fail(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    output = world.run(STAGE, science)
    verdicts = verdicts_of(output)
    assert [row.triplet_id for row in verdicts] == [triplet.triplet_id for triplet in world.triplets]
    assert {row.triplet_id: row.accepted for row in verdicts} == world.deserves
    assert all(bool(row.reasons) != row.accepted for row in verdicts)
    assert output.record.models == {}


def test_the_funnel_adds_up(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    funnel = world.run(STAGE, science).read_json("funnel.json")
    assert funnel == {
        "triplets": 84,
        "traces": 84,
        "accepted": 48,
        "reasons": {"incorrect_finding": 24, "required_finding_omitted": 12},
        "by_source": {
            "observer": {"accepted": 12, "traces": 48},
            "pixel": {"accepted": 36, "traces": 36},
        },
    }


def test_every_reason_of_a_trace_is_kept(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    rows = list(world.outputs["traces"].read_rows("traces.jsonl", Trace))
    bad = "<think>The OCT scan shows drusen.</think> <answer>PDR</answer>"
    rows[0] = rows[0].model_copy(update={"text": bad})
    world.put("traces", lambda writer: writer.write_rows("traces.jsonl", rows))
    verdict = verdicts_of(world.run(STAGE, science))[0]
    assert [reason for reason, _ in verdict.reasons] == [
        Reason.ANSWER_MISMATCH,
        Reason.MODALITY,
        Reason.REQUIRED_OMITTED,
        Reason.FINDING_INCORRECT,
        Reason.KNOWLEDGE_OMITTED,
    ]


class Checker:
    """A checker that objects to the first trace it sees and cannot be understood on the second."""

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        texts = []
        for request in requests:
            self.asked.append(request)
            first = len(self.asked) == 1
            said = {"accepted": not first, "problems": ["too vague"] if first else []}
            texts.append("well..." if len(self.asked) == 2 else json.dumps(said))
        return [ChatAnswer(text, "checker-1") for text in texts]


def test_the_writer_is_asked_about_what_passed_and_can_only_reject(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = Checker()
    monkeypatch.setattr(quality, "open_chat", lambda *_: checker)
    world.run(TRACES, science)
    output = world.run(STAGE, with_writer(science))
    passing = [triplet_id for triplet_id, passes in world.deserves.items() if passes]
    assert [request.inputs["triplet"].triplet_id for request in checker.asked] == passing
    verdicts = {row.triplet_id: row for row in verdicts_of(output)}
    assert verdicts[passing[0]].reasons == ((Reason.WRITER, "too vague"),)
    assert verdicts[passing[1]].reasons == ((Reason.WRITER, "its answer could not be read"),)
    accepted = [triplet_id for triplet_id, row in verdicts.items() if row.accepted]
    assert accepted == passing[2:]
    assert output.record.models == {"writer": "checker-1"}


def test_the_rules_as_writer_agree_with_themselves(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    alone = verdicts_of(world.run(STAGE, science))
    both = world.run(STAGE, with_writer(science))
    assert verdicts_of(both) == alone
    assert both.record.models == {"writer": "rules"}


def test_the_writer_changes_the_fingerprint_only_where_it_is_asked(science: Science) -> None:
    other = science.model_dump()
    other["models"]["writer"]["max_tokens"] = 99
    changed = Science.model_validate(other)
    assert STAGE.select(changed) == STAGE.select(science)
    assert STAGE.select(with_writer(changed)) != STAGE.select(with_writer(science))


def test_a_trace_of_an_unknown_triplet_is_an_error(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    row = next(iter(world.outputs["traces"].read_rows("traces.jsonl", Trace)))
    lost = row.model_copy(update={"triplet_id": "nobody"})
    world.put("traces", lambda writer: writer.write_rows("traces.jsonl", [lost]))
    with pytest.raises(StageError, match="nobody"):
        world.run(STAGE, science)
