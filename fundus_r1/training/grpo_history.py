"""What GRPO leaves behind of each step: a row of figures (`training.grpo_steps`), and rollouts to read.

While verl trains, the reward worker appends one line a rollout to a journal, ``<step>.jsonl``. When
verl has summed up a step, the step is folded into a history, which travels with each checkpoint.
So a run that was killed goes on from its newest checkpoint with exactly the steps that this
checkpoint has learnt from: none missing, none twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fundus_r1.training.grpo_steps import Line, step_row

REWARDS, ROLLOUTS = "rewards.jsonl", "rollouts.jsonl"
KEPT_ROLLOUTS = 64
"""Rollouts of a step whose texts are kept; all are counted. A paper run has millions."""


def read_lines(path: Path) -> list[Line]:
    """A file of JSON lines; none if it is not there."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write_lines(path: Path, lines: Sequence[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


@dataclass(frozen=True)
class Journal:
    """The rollouts of each step as they were rewarded, in any order."""

    folder: Path

    def append(self, line: Line) -> None:
        """Adds a rollout: `step`, `uid`, `triplet_id`, `text`, `response_length` and the reward's parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{line['step']}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def step(self, number: int) -> list[Line]:
        """One step's rollouts, sorted by prompt."""
        lines = read_lines(self.folder / f"{number}.jsonl")
        return sorted(lines, key=lambda line: (line["triplet_id"], line["uid"]))


@dataclass
class History:
    """The rows of all steps up to one."""

    rewards: list[Line]
    rollouts: list[Line]

    @classmethod
    def read(cls, folder: Path) -> History:
        """From a folder; empty if there is none."""
        return cls(read_lines(folder / REWARDS), read_lines(folder / ROLLOUTS))

    @property
    def steps(self) -> int:
        return len(self.rewards)

    def fold(self, journal: Journal, step: int, measured: Mapping[str, float], limit: int) -> Line:
        """Adds the next step; its row.

        Args:
            journal: holds the step's rollouts.
            step: its number.
            measured: what verl told of it.
            limit: tokens that a rollout may have.

        Raises:
            ValueError: it is not the next step, or has no rollouts.
        """
        if step != self.steps + 1:
            raise ValueError(f"step {step} comes after step {self.steps}")
        rollouts = journal.step(step)
        if not rollouts:
            raise ValueError(f"step {step} has no rewarded rollouts")
        row = step_row(step, rollouts, measured, limit)
        self.rewards.append(row)
        self.rollouts += rollouts[:KEPT_ROLLOUTS]
        return row

    def write(self, folder: Path) -> None:
        write_lines(folder / REWARDS, self.rewards)
        write_lines(folder / ROLLOUTS, self.rollouts)


def rewards_taken(rollouts: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, uid -> reward) of the rollouts that verl trained on, from the files that it leaves."""
    for path in sorted(rollouts.glob("*.jsonl"), key=lambda path: int(path.stem)):
        yield int(path.stem), {line["uid"]: line["score"] for line in read_lines(path)}
