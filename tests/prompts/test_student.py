from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fundus_r1.prompts.student import parse_student, student_prompt, student_response

TAG_SOUP = st.lists(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "<THINK>", "x", " ", "\n", "<", "Mild"])
).map("".join)
BODY = (
    st.text(min_size=1)
    .map(str.strip)
    .filter(lambda text: any(char.isalnum() for char in text) and "<" not in text)
)
GAP = st.text(alphabet=" \n\t", max_size=3)


@given(TAG_SOUP | st.text())
@example("")
def test_reading_never_raises_and_finds_no_tag_inside_a_part(text: str) -> None:
    parsed = parse_student(text)
    for part in (parsed.think, parsed.answer):
        assert part is None or (part and part == part.strip())
        assert part is None or not any(tag in part.lower() for tag in ("<answer>", "</think>"))


@given(TAG_SOUP)
def test_well_formed_means_that_both_parts_are_there(text: str) -> None:
    parsed = parse_student(text)
    assert not parsed.well_formed or (parsed.think and parsed.answer)


@given(BODY, BODY, GAP, GAP)
def test_composing_then_reading_is_the_identity(think: str, answer: str, before: str, after: str) -> None:
    parsed = parse_student(before + student_response(think, answer) + after)
    assert (parsed.think, parsed.answer, parsed.well_formed) == (think, answer, True)


@given(BODY)
def test_an_answer_alone_is_read_but_is_not_the_required_form(answer: str) -> None:
    parsed = parse_student(student_response(None, answer))
    assert (parsed.think, parsed.answer, parsed.well_formed) == (None, answer, False)


@pytest.mark.parametrize(
    ("text", "think", "answer"),
    [
        ("<think>a</think><answer>B</answer> and more", "a", "B"),
        ("first <think>a</think> <answer>B</answer>", "a", "B"),
        ("<think>a</think> so <answer>B</answer>", "a", "B"),
        ("<think></think> <answer>B</answer>", None, "B"),
        ("<think>a</think> <answer> </answer>", "a", None),
        ("<think>a</think> <answer>B</answer> <answer>C</answer>", "a", "C"),
        ("<think>a</think> <answer><answer>B</answer></answer>", "a", "B"),
        ("<think>a <think>b</think></think> <answer>B</answer>", "a", "B"),
        ("<answer>B</answer> <think>a</think>", "a", "B"),
        ("<think>a <answer>B</answer></think>", "a", "B"),
        ("<think>a</think> <answer>Moderate N", "a", "Moderate N"),
        ("<think>cut in the middle", "cut in the middle", None),
        ("<Think>a</Think> <Answer>B</Answer>", "a", "B"),
        ("Moderate NPDR", None, None),
    ],
)
def test_other_forms_give_what_can_be_found_and_are_not_well_formed(
    text: str, think: str | None, answer: str | None
) -> None:
    parsed = parse_student(text)
    assert (parsed.think, parsed.answer, parsed.well_formed) == (think, answer, False)


def test_the_prompt_lists_the_options_and_asks_for_the_form() -> None:
    options = {"A": "Mild NPDR", "B": "PDR"}
    asked = student_prompt("Which grade, at $5?", options, reasoning=True)
    assert asked.startswith("Which grade, at $5?\nOptions:\nA. Mild NPDR\nB. PDR\n")
    assert "<think>" in asked and "<answer>" in asked


def test_the_plain_prompt_asks_for_no_trace() -> None:
    asked = student_prompt("Which disease?", {}, reasoning=False)
    assert "<think>" not in asked and "<answer>" in asked and "Options:" not in asked
