from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.prompts.free import free_question
from fundus_r1.prompts.material import (
    CHECK_SCHEMA,
    WRITERS_REASONS,
    Material,
    check_answer,
    check_question,
    read_check,
    trace_question,
)
from fundus_r1.rows import Knowledge, Modality, Reason, Triplet

MATERIAL = Material(
    Triplet(
        triplet_id="a#0", sample_id="a", task="dr_grading", modality=Modality.CFP, label="mild_npdr",
        question="Which grade, for $5?", options={}, answer="Mild NPDR",
    ),
    ("microaneurysm",),
    "pixel",
    Knowledge(
        label="mild_npdr", modality=Modality.CFP, query="", description="On CFP, it is mild.",
        required=("microaneurysm",), supportive=("hard_exudate",), absent=(), evidence={}, passages=(),
        model="none",
    ),
)  # fmt: skip
FORMAT = (Reason.FORMAT, "no tags")
unhurried = settings(deadline=None)


def said(accepted: object, *problems: object) -> str:
    return json.dumps({"accepted": accepted, "problems": problems})


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (said(True), []),
        (said(False, {"reason": "format", "detail": "no tags"}), [FORMAT]),
        (said(True, {"reason": "format", "detail": "no tags"}), [FORMAT]),
        (said(False), [(Reason.OTHER, "rejected without a reason")]),
        (said(False, {"reason": "bad mood", "detail": "d"}), None),
        (said(False, {"reason": "check_unreadable", "detail": "d"}), None),
        (said(False, {"reason": "format"}), None),
        (said(False, "format"), None),
        (said("yes"), None),
        ('{"accepted": true}', None),
        ("accepted", None),
        ("", None),
        ("[]", None),
        ('{"accepted": false, "prob', None),
        ("[" * 100_000, None),
    ],
)
def test_a_check_accepts_only_if_it_says_so_and_names_no_problem(
    text: str, problems: list[tuple[Reason, str]] | None
) -> None:
    assert read_check(text) == problems


@unhurried
@given(st.lists(st.tuples(st.sampled_from(WRITERS_REASONS), st.text(max_size=200))))
def test_reasons_survive_the_answer_that_gives_them(reasons: list[tuple[Reason, str]]) -> None:
    answer = check_answer(reasons)
    assert read_check(answer) == reasons
    if len(reasons) <= len(WRITERS_REASONS):
        jsonschema.validate(json.loads(answer), CHECK_SCHEMA)


@unhurried
@given(st.text())
def test_any_text_at_all_is_read_or_not_but_never_raises(text: str) -> None:
    assert read_check(text) is None or isinstance(read_check(text), list)


def test_the_check_names_every_reason_of_its_schema_and_quotes_the_trace_as_data() -> None:
    text = check_question(MATERIAL, 'a "trace" of\n$two lines')
    assert all(f'"{reason}"' in text for reason in WRITERS_REASONS)
    assert f'"{Reason.UNREADABLE}"' not in text
    assert r'"a \"trace\" of\n$two lines"' in text


def test_the_composition_asks_for_the_three_steps() -> None:
    text = trace_question(MATERIAL)
    for part in ("1. Summarise the findings", "2. Connect", "3. Derive", "On CFP, it is mild.", "for $5?"):
        assert part in text
    assert text.endswith("<answer>Mild NPDR</answer>")


def test_free_form_gets_question_and_answer_and_nothing_else() -> None:
    text = free_question(MATERIAL.triplet)
    assert "Which grade, for $5?" in text and "<answer>Mild NPDR</answer>" in text
    for kept_back in ("microaneurysm", "On CFP, it is mild.", "hard exudate", "CFP"):
        assert kept_back not in text
