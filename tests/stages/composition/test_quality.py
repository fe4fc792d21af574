from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fundus_r1.errors import StageError
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.models.usage import Usage
from fundus_r1.prompts.material import check_answer
from fundus_r1.rows import Modality, Reason, Trace, Verdict
from fundus_r1.spec import Science
from fundus_r1.stages import writing
from fundus_r1.stages.quality import STAGE, audited, verdict
from fundus_r1.stages.summary import markdown
from fundus_r1.stages.traces import STAGE as TRACES

unhurried = settings(deadline=None)


def with_writer(science: Science, audit_share: float = 0.0) -> Science:
    tree = science.model_dump()
    tree["quality"] |= {"checks": "rules+writer", "audit_share": audit_share}
    return Science.model_validate(tree)


def verdicts_of(output: Any) -> list[Verdict]:
    return list(output.read_rows("verdicts.jsonl", Verdict))


def test_consistent_findings_pass_and_others_fail(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    output = world.run(STAGE, science)
    verdicts = verdicts_of(output)
    assert [row.triplet_id for row in verdicts] == [triplet.triplet_id for triplet in world.triplets]
    assert {row.triplet_id: row.accepted for row in verdicts} == world.deserves
    assert {(row.writer, row.model) for row in verdicts} == {("not_asked", None)}
    assert output.record.models == {}


def test_the_funnel_adds_up(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    output = world.run(STAGE, science)
    assert output.read_json("funnel.json") == {
        "triplets": 84,
        "traces": 84,
        "accepted": 48,
        "reasons": {"incorrect_finding": 24, "required_finding_omitted": 12},
        "by_rules": {"incorrect_finding": 24, "required_finding_omitted": 12},
        "by_writer": {},
        "writer": {"accepted": 0, "rejected": 0, "unreadable": 0, "not_asked": 84},
        "by_source": {
            "observer": {"accepted": 12, "traces": 48},
            "pixel": {"accepted": 36, "traces": 36},
        },
        "agreement": {
            "traces": 0,
            "table": {"accepted": {"accepted": 0, "rejected": 0}, "rejected": {"accepted": 0, "rejected": 0}},
            "reasons": {},
        },
    }
    assert output.record.counts == {
        "traces": 84,
        "accepted": 48,
        "rejected_required_finding_omitted": 12,
        "rejected_incorrect_finding": 24,
    }


def test_every_reason_of_a_trace_is_kept(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    rows = list(world.outputs["traces"].read_rows("traces.jsonl", Trace))
    bad = "<think>The OCT scan shows drusen.</think> <answer>PDR</answer>"
    rows[0] = rows[0].model_copy(update={"text": bad})
    world.put("traces", lambda writer: writer.write_rows("traces.jsonl", rows))
    row = verdicts_of(world.run(STAGE, science))[0]
    assert [reason for reason, _ in row.reasons] == [
        Reason.ANSWER_MISMATCH,
        Reason.MODALITY,
        Reason.REQUIRED_OMITTED,
        Reason.FINDING_INCORRECT,
        Reason.KNOWLEDGE_OMITTED,
        Reason.NOT_DERIVED,
    ]


class Checker:
    """A checker that says what a function of the number of the trace says."""

    def __init__(self, says: Callable[[int], str]) -> None:
        self.usage = Usage()
        self.asked: list[ChatRequest] = []
        self.says = says

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        start = len(self.asked)
        self.asked += requests
        return [ChatAnswer(self.says(start + n), "checker-1") for n in range(len(requests))]


VAGUE = (Reason.OTHER, "too vague")
ACCEPTS = check_answer([])


def checked_by(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch, checker: Checker, share: float
) -> Any:
    """The quality of the traces that the rules composed, as the checker sees it."""
    world.run(TRACES, science)
    monkeypatch.setattr(writing, "open_chat", lambda *_, **__: checker)
    return world.run(STAGE, with_writer(science, share))


def test_the_writer_is_asked_about_what_passed_and_both_opinions_are_kept_apart(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = Checker(lambda n: {0: check_answer([VAGUE]), 1: "well..."}.get(n, ACCEPTS))
    output = checked_by(world, science, monkeypatch, checker, 0.0)
    passing = [triplet_id for triplet_id, passes in world.deserves.items() if passes]
    assert [request.inputs["triplet"].triplet_id for request in checker.asked] == passing
    verdicts = {row.triplet_id: row for row in verdicts_of(output)}
    first, second, third = (verdicts[name] for name in passing[:3])
    assert (first.writer, first.objections, first.rules, first.accepted) == ("rejected", (VAGUE,), (), False)
    assert (second.writer, second.rules, second.accepted) == ("unreadable", (), False)
    assert [reason for reason, _ in second.reasons] == [Reason.UNREADABLE]
    assert (third.writer, third.reasons, third.accepted, third.model) == ("accepted", (), True, "checker-1")
    assert [triplet_id for triplet_id, row in verdicts.items() if row.accepted] == passing[2:]
    assert {row.writer for row in verdicts.values() if row.rules} == {"not_asked"}
    funnel = output.read_json("funnel.json")
    assert funnel["writer"] == {"accepted": 46, "rejected": 1, "unreadable": 1, "not_asked": 36}
    assert funnel["by_writer"] == {"other": 1, "check_unreadable": 1}
    assert funnel["reasons"] == funnel["by_rules"] | funnel["by_writer"]
    assert output.record.models == {"writer": "checker-1"}
    assert output.record.counts["check_unreadable"] == 1


def test_a_writer_that_accepts_all_rescues_nothing_and_its_disagreement_is_shown(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = checked_by(world, science, monkeypatch, Checker(lambda _: ACCEPTS), 1.0)
    assert {row.triplet_id: row.accepted for row in verdicts_of(output)} == world.deserves
    assert output.read_json("funnel.json")["agreement"] == {
        "traces": 84,
        "table": {
            "accepted": {"accepted": 48, "rejected": 0},
            "rejected": {"accepted": 36, "rejected": 0},
        },
        "reasons": {
            "required_finding_omitted": {"both": 0, "rules": 12, "writer": 0},
            "incorrect_finding": {"both": 0, "rules": 24, "writer": 0},
        },
    }
    page = markdown(output)
    assert "| rules reject | 36 | 0 |" in page and "| incorrect_finding | 24 | 0 |" in page


def test_a_writer_that_rejects_all_leaves_nothing_and_agrees_where_the_reasons_are_the_same(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = check_answer([(Reason.FINDING_INCORRECT, "no such thing")])
    output = checked_by(world, science, monkeypatch, Checker(lambda _: wrong), 1.0)
    funnel = output.read_json("funnel.json")
    assert funnel["accepted"] == 0
    assert funnel["agreement"]["table"] == {
        "accepted": {"accepted": 0, "rejected": 48},
        "rejected": {"accepted": 0, "rejected": 36},
    }
    assert funnel["agreement"]["reasons"] == {
        "required_finding_omitted": {"both": 0, "rules": 12, "writer": 0},
        "incorrect_finding": {"both": 24, "rules": 0, "writer": 60},
    }
    assert funnel["reasons"]["incorrect_finding"] == 84, "a trace counts once for a reason of both"


def test_what_cannot_be_read_is_no_opinion(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = checked_by(world, science, monkeypatch, Checker(lambda _: "对不起"), 1.0)
    funnel = output.read_json("funnel.json")
    assert funnel["accepted"] == 0 and funnel["writer"]["unreadable"] == 84
    assert funnel["agreement"]["traces"] == 0
    assert funnel["reasons"]["check_unreadable"] == 84


def test_a_share_of_what_the_rules_reject_is_shown_to_the_writer_whatever_else_there_is(
    world: Any, science: Science, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = checked_by(world, science, monkeypatch, Checker(lambda _: ACCEPTS), 0.5)
    rejected = [row for row in verdicts_of(output) if row.rules]
    shown = {row.triplet_id for row in rejected if row.writer == "accepted"}
    assert shown == {row.triplet_id for row in rejected if audited(row.triplet_id, 0.5)}
    assert 0 < len(shown) < len(rejected)


@unhurried
@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_shows_all_that_a_smaller_one_does(name: str, one: float, other: float) -> None:
    assert audited(name, 1.0) and not audited(name, 0.0)
    assert audited(name, max(one, other)) >= audited(name, min(one, other))


def test_the_share_is_about_what_was_asked_for() -> None:
    assert 400 < sum(audited(f"triplet {n}", 0.05) for n in range(10_000)) < 600


def test_the_rules_as_writer_agree_with_themselves(world: Any, science: Science) -> None:
    world.run(TRACES, science)
    alone = verdicts_of(world.run(STAGE, science))
    both = world.run(STAGE, with_writer(science, 1.0))
    for mine, theirs in zip(alone, verdicts_of(both), strict=True):
        assert mine.rules == theirs.rules == theirs.objections and mine.accepted == theirs.accepted
    agreement = both.read_json("funnel.json")["agreement"]
    assert agreement["table"] == {
        "accepted": {"accepted": 48, "rejected": 0},
        "rejected": {"accepted": 0, "rejected": 36},
    }
    assert all(row["rules"] == row["writer"] == 0 for row in agreement["reasons"].values())
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


TRACE = Trace(
    triplet_id="a#0", sample_id="a", label="pdr", modality=Modality.CFP, findings=(), source="pixel",
    text="", model="m",
)  # fmt: skip
REASONS = st.lists(
    st.tuples(st.sampled_from([r for r in Reason if r is not Reason.UNREADABLE]), st.text(max_size=9))
)


@unhurried
@given(REASONS, st.none() | st.text() | REASONS.map(check_answer))
def test_a_trace_is_accepted_exactly_if_neither_rejects(
    rules: list[tuple[Reason, str]], said: str | None
) -> None:
    made = verdict(TRACE, rules, None if said is None else ChatAnswer(said, "w"))
    assert made.accepted == (not rules and made.writer in ("accepted", "not_asked"))
    assert (made.writer == "not_asked") == (said is None) == (made.model is None)
    assert made.accepted == (made.reasons == ())
    assert Verdict.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    "broken",
    [
        {"accepted": True, "rules": [["format", "no tags"]]},
        {"accepted": False},
        {"writer": "rejected", "accepted": False},
        {"writer": "accepted", "objections": [["other", "too vague"]], "accepted": False},
        {"rules": [["bad mood", ""]], "accepted": False},
    ],
)
def test_a_verdict_that_contradicts_itself_is_none(broken: dict[str, object]) -> None:
    whole = {
        "triplet_id": "a", "sample_id": "a", "accepted": True, "rules": [], "writer": "not_asked",
        "objections": [], "model": None,
    }  # fmt: skip
    assert Verdict.model_validate_json(json.dumps(whole)).accepted
    with pytest.raises(ValidationError):
        Verdict.model_validate_json(json.dumps(whole | broken))
