"""A step's row, and what ends a run: a figure that is no number, a policy that flies off, no advantage."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.errors import ModelError
from fundus_r1.training.grpo_steps import WINDOW, Line, check, check_judge, step_row, zero_advantage


def rollouts(*groups: tuple[float, ...]) -> list[Line]:
    """A group of scores for each prompt."""
    return [
        {
            "step": 1, "uid": f"prompt_{prompt}_{number}_0", "triplet_id": "t", "text": "…", "score": score,
            "answer": score / 2, "response_length": 10 * number + 10,
        }
        for prompt, scores in enumerate(groups)
        for number, score in enumerate(scores)
    ]  # fmt: skip


def rows(steps: int, **changes: Any) -> list[Line]:
    return [
        {"step": step + 1, "score": 1.0, "kl": 0.1, "zero_advantage": 0.0, "grad_norm": 1.0, "loss": 0.0}
        | changes
        for step in range(steps)
    ]


def test_a_row_holds_means_shares_and_what_verl_measured_and_nothing_else() -> None:
    measured = {"actor/kl_loss": 0.2, "perf/throughput": 40.0, "num_turns/min": 2.0}
    assert step_row(7, rollouts((0.5, 1.5), (1.0, 1.0, 1.0)), measured, limit=20) == {
        "step": 7, "rollouts": 5, "score": 1.0, "answer": 0.5, "response_length": 18.0, "zero_advantage": 0.5,
        "response_length_max": 30, "response_cut": 0.6, "kl": 0.2, "tokens_per_s": 40.0,
    }  # fmt: skip


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50))
def test_a_mean_lies_between_the_rollouts(scores: list[float]) -> None:
    row = step_row(1, rollouts(tuple(scores)), {}, limit=20)
    assert min(scores) - 1e-9 <= row["score"] <= max(scores) + 1e-9


@pytest.mark.parametrize(
    ("groups", "share"),
    [
        (((1.0, 1.0), (2.0, 2.0)), 1.0),
        (((1.0, 2.0), (1.0, 2.0)), 0.0),
        (((1.0, 1.0), (1.0, 2.0), (0.0, 0.0), (2.0, 2.0)), 0.75),
    ],
)
def test_a_prompt_teaches_nothing_if_its_rollouts_have_one_reward(
    groups: tuple[tuple[float, ...], ...], share: float
) -> None:
    """Whatever the rewards of other prompts are."""
    assert zero_advantage(rollouts(*groups)) == share


def test_a_run_that_is_well_goes_on() -> None:
    for steps in (1, WINDOW, 3 * WINDOW):
        check(rows(steps), max_kl=0.5, empty_advantage_steps=5)
    check([{"step": 1, "score": 0.0, "zero_advantage": 1.0}], max_kl=0.5, empty_advantage_steps=5)


@pytest.mark.parametrize(
    ("name", "what"),
    [("loss", "loss"), ("grad_norm", "norm of the gradients"), ("score", "reward"), ("kl", "KL")],
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_is_no_number_ends_the_run(name: str, what: str, value: float) -> None:
    with pytest.raises(ModelError, match=f"The {what} of GRPO step 3 is {value}"):
        check([*rows(2), rows(1, step=3)[0] | {name: value}], max_kl=None, empty_advantage_steps=None)


def test_a_policy_that_flies_off_ends_the_run_by_the_mean_of_ten_steps() -> None:
    peak = [*rows(WINDOW - 1), *rows(1, step=WINDOW, kl=4.0)]
    check(peak, max_kl=0.5, empty_advantage_steps=None)
    far = rows(20) + rows(WINDOW, kl=0.75)
    check(far, max_kl=None, empty_advantage_steps=None)
    with pytest.raises(ModelError, match=r"0\.75 nats a token") as caught:
        check(far, max_kl=0.5, empty_advantage_steps=None)
    assert "max_kl is 0.5" in caught.value.where and "max_kl: null" in caught.value.hint


def test_steps_that_teach_nothing_end_the_run_if_they_follow_each_other() -> None:
    empty = rows(5, zero_advantage=1.0, score=0.25)
    check(empty[:4], max_kl=None, empty_advantage_steps=5)
    check(empty + rows(1) + empty[:4], max_kl=None, empty_advantage_steps=5)
    check(empty, max_kl=None, empty_advantage_steps=None)
    with pytest.raises(ModelError, match=r"in the 5 steps up to 5.*mean 0\.25"):
        check(rows(3) + empty, max_kl=None, empty_advantage_steps=5)


def test_a_step_ends_the_run_if_more_of_its_verdicts_are_missing_than_may_be() -> None:
    row = {"step": 3, "rollouts": 32, "judge_calls": 0.5, "judge_failed": 1 / 32}
    check_judge(row, 0.1)
    check_judge({"step": 3, "rollouts": 32}, 0.0)
    with pytest.raises(ModelError, match="2 of 16 verdicts that step 3 asked") as caught:
        check_judge(row | {"judge_failed": 2 / 32}, 0.1)
    assert caught.value.transient and "bad_share" in caught.value.hint
