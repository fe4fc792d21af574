"""What is kept of each step: no step is lost or doubled, and the means are the rollouts'."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.training.grpo_history import (
    KEPT_ROLLOUTS,
    History,
    Journal,
    Line,
    mean_row,
    rewards_taken,
    write_lines,
)


def rollout(step: int, number: int, score: float = 1.0) -> Line:
    return {
        "step": step,
        "uid": f"{number:04d}",
        "triplet_id": f"t{number % 3}",
        "text": "<think>…</think>",
        "response_length": 10 + number,
        "score": score,
        "answer": score,
    }


def journal_of(folder: Path, steps: range, rollouts: int = 4) -> Journal:
    journal = Journal(folder)
    for step in steps:
        for number in reversed(range(rollouts)):
            journal.append(rollout(step, number, score=step + number))
    return journal


def test_a_row_holds_the_means_of_all_numbers_and_nothing_else() -> None:
    row = mean_row(7, [rollout(7, 0, 0.5), rollout(7, 1, 1.5)])
    assert row == {"step": 7, "rollouts": 2, "response_length": 10.5, "score": 1.0, "answer": 1.0}


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50))
def test_a_mean_lies_between_the_rollouts(scores: list[float]) -> None:
    row = mean_row(1, [rollout(1, number, score) for number, score in enumerate(scores)])
    assert min(scores) - 1e-9 <= row["score"] <= max(scores) + 1e-9


def test_the_journal_gives_a_steps_rollouts_in_an_order_of_its_own(tmp_path: Path) -> None:
    lines = journal_of(tmp_path, range(1, 3)).step(2)
    assert [(line["triplet_id"], line["uid"]) for line in lines] == [
        ("t0", "0000"), ("t0", "0003"), ("t1", "0001"), ("t2", "0002"),
    ]  # fmt: skip


def test_folding_in_two_goes_is_folding_at_once(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "journal", range(1, 6))
    at_once = History([], [])
    at_once.fold(journal, 5)
    in_two = History([], [])
    in_two.fold(journal, 2)
    in_two.write(tmp_path / "history")
    resumed = History.read(tmp_path / "history")
    resumed.fold(journal, 5)
    assert resumed == at_once
    assert [row["step"] for row in resumed.rewards] == [1, 2, 3, 4, 5]


def test_folding_again_adds_nothing(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, range(1, 4))
    history = History([], [])
    history.fold(journal, 3)
    history.fold(journal, 3)
    assert history.steps == 3


def test_a_resumed_run_folds_only_what_its_checkpoint_has_not_seen(tmp_path: Path) -> None:
    """A killed run got to step 4; its newest checkpoint is of step 2, and step 3 is done again."""
    killed = History([], [])
    killed.fold(journal_of(tmp_path / "killed", range(1, 5)), 2)
    killed.write(tmp_path / "checkpoint")
    history = History.read(tmp_path / "checkpoint")
    history.fold(journal_of(tmp_path / "resumed", range(3, 5)), 4)
    assert [row["step"] for row in history.rewards] == [1, 2, 3, 4]


def test_a_step_without_rollouts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step 2"):
        History([], []).fold(journal_of(tmp_path, range(1, 2)), 2)


def test_texts_are_kept_of_some_rollouts_and_all_are_counted(tmp_path: Path) -> None:
    history = History([], [])
    history.fold(journal_of(tmp_path, range(1, 3), rollouts=KEPT_ROLLOUTS + 5), 2)
    assert [row["rollouts"] for row in history.rewards] == [KEPT_ROLLOUTS + 5] * 2
    assert len(history.rollouts) == 2 * KEPT_ROLLOUTS


def test_the_rewards_that_verl_took_are_read_step_by_step(tmp_path: Path) -> None:
    for step in (10, 9):
        write_lines(tmp_path / f"{step}.jsonl", [{"uid": "a", "score": step / 2, "input": "…"}])
    assert list(rewards_taken(tmp_path)) == [(9, {"a": 4.5}), (10, {"a": 5.0})]
