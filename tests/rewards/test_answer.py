from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.rewards import answer_reward

GRADES = {"A": "No DR", "B": "Mild NPDR", "C": "Severe NPDR", "D": "PDR"}


@pytest.mark.parametrize("answer", ["Severe NPDR", "C", "c.", "C. Severe NPDR", "grade 3: severe NPDR"])
def test_the_right_option_in_any_writing_is_rewarded(answer: str) -> None:
    assert answer_reward(answer, truth="Severe NPDR", options=GRADES) == 1.0


@pytest.mark.parametrize(
    "answer", [None, "", "NPDR", "Mild NPDR", "B", "B. Severe NPDR", "Severe NPDR or PDR", "A, B, C, D"]
)
def test_anything_else_is_not(answer: str | None) -> None:
    assert answer_reward(answer, truth="Severe NPDR", options=GRADES) == 0.0


@given(st.text() | st.sampled_from([*GRADES, *GRADES.values()]))
def test_at_most_one_option_is_right(answer: str) -> None:
    rewards = [answer_reward(answer, truth=truth, options=GRADES) for truth in GRADES.values()]
    assert sum(rewards) <= 1.0 and set(rewards) <= {0.0, 1.0}
