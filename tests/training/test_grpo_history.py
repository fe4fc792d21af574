"""What is kept of each step: no step is lost or doubled, and the order is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.training.grpo_history import (
    KEPT_ROLLOUTS,
    History,
    Journal,
    rewards_taken,
    write_lines,
)
from fundus_r1.training.grpo_steps import Line


def rollout(step: int, number: int, score: float = 1.0) -> Line:
    return {
        "step": step,
        "uid": f"{number:04d}_0_0",
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


def fold(history: History, journal: Journal, steps: range) -> History:
    for step in steps:
        history.fold(journal, step, {"actor/kl_loss": step / 10}, limit=64)
    return history


def test_the_journal_gives_a_steps_rollouts_in_an_order_of_its_own(tmp_path: Path) -> None:
    lines = journal_of(tmp_path, range(1, 3)).step(2)
    assert [(line["triplet_id"], line["uid"]) for line in lines] == [
        ("t0", "0000_0_0"), ("t0", "0003_0_0"), ("t1", "0001_0_0"), ("t2", "0002_0_0"),
    ]  # fmt: skip


def test_folding_in_two_goes_is_folding_at_once(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "journal", range(1, 6))
    at_once = fold(History([], []), journal, range(1, 6))
    fold(History([], []), journal, range(1, 3)).write(tmp_path / "history")
    resumed = fold(History.read(tmp_path / "history"), journal, range(3, 6))
    assert resumed == at_once
    assert [row["step"] for row in resumed.rewards] == [1, 2, 3, 4, 5]
    assert [row["kl"] for row in resumed.rewards] == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize("step", [1, 3])
def test_a_step_is_folded_once_and_none_is_left_out(tmp_path: Path, step: int) -> None:
    journal = journal_of(tmp_path, range(1, 4))
    history = fold(History([], []), journal, range(1, 2))
    with pytest.raises(ValueError, match=f"step {step} comes after step 1"):
        history.fold(journal, step, {}, limit=64)
    assert history.steps == 1


def test_a_resumed_run_folds_only_what_its_checkpoint_has_not_seen(tmp_path: Path) -> None:
    """A killed run got to step 4; its newest checkpoint is of step 2, and step 3 is done again."""
    killed = fold(History([], []), journal_of(tmp_path / "killed", range(1, 5)), range(1, 3))
    killed.write(tmp_path / "checkpoint")
    history = History.read(tmp_path / "checkpoint")
    fold(history, journal_of(tmp_path / "resumed", range(3, 5)), range(3, 5))
    assert [row["step"] for row in history.rewards] == [1, 2, 3, 4]


def test_a_step_without_rollouts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step 2"):
        fold(History([], []), journal_of(tmp_path, range(1, 2)), range(1, 3))


def test_texts_are_kept_of_some_rollouts_and_all_are_counted(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, range(1, 3), rollouts=KEPT_ROLLOUTS + 5)
    history = fold(History([], []), journal, range(1, 3))
    assert [row["rollouts"] for row in history.rewards] == [KEPT_ROLLOUTS + 5] * 2
    assert len(history.rollouts) == 2 * KEPT_ROLLOUTS


def test_the_rewards_that_verl_took_are_read_step_by_step(tmp_path: Path) -> None:
    for step in (10, 9):
        write_lines(tmp_path / f"{step}.jsonl", [{"uid": "a", "score": step / 2, "input": "…"}])
    assert list(rewards_taken(tmp_path)) == [(9, {"a": 4.5}), (10, {"a": 5.0})]
