from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.rewards.watch import off_vocabulary, repeated, shares


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("one two three four five", 0.0),
        ("one two three four One Two Three Four", 1 / 5),
        ("a a a a a a a a", 4 / 5),
    ],
)
def test_repeated_is_the_share_of_runs_of_four_words_that_stood_before(text: str, share: float) -> None:
    assert repeated(text) == pytest.approx(share)


@given(st.text())
def test_repeated_is_a_share(text: str) -> None:
    assert 0.0 <= repeated(text) <= 1.0
    assert repeated(f"{text} {text} {text}") >= repeated(text)


def test_only_what_is_stated_as_present_is_looked_up() -> None:
    trace = "There are drusen and microaneurysms. No macular hole is seen. So the answer is CNV."
    assert off_vocabulary(trace, {"drusen"}) == (1, 2)
    assert off_vocabulary(trace, {"drusen", "microaneurysm"}) == (0, 2)
    assert off_vocabulary("", {"drusen"}) == (0, 0)
    assert off_vocabulary(trace, set()) == (0, 0)


def test_the_shares_of_a_step_leave_out_what_did_not_occur() -> None:
    means = {
        "findings_stated": 4.0, "off_vocabulary": 1.0, "judge_calls": 0.8, "judge_failed": 0.3,
        "judge_agrees": 0.25, "judge_cached": 0.2, "judge_s": 1.6,
    }  # fmt: skip
    assert shares(means) == pytest.approx(
        {
            "off_vocabulary": 0.25,
            "judge_agrees": 0.5,
            "judge_cached": 0.25,
            "judge_failed": 0.375,
            "judge_s": 2.0,
        }
    )
    assert shares(dict.fromkeys(means, 0.0)) == {}
    assert shares({"score": 1.0}) == {}
