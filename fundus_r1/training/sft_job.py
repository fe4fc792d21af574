"""The job of an SFT process group: what travels from the stage to the processes, and back.

Everything lies in one local folder, so that a process needs no more than the path of
``job.json``. Images lie there as files, one for each image however many questions are asked
about it, so that the processes read what they need and hold none in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from fundus_r1.errors import SpecError
from fundus_r1.fingerprint import sha256
from fundus_r1.rows import Conversation, Split
from fundus_r1.spec.base import Spec
from fundus_r1.spec.placement import StorePlace
from fundus_r1.spec.science import SftScience

CONVERSATIONS, IMAGES = "conversations.jsonl", "images"


class SftJob(Spec):
    """What the processes are to do. Credentials come from the environment."""

    science: SftScience
    micro_batch_size: int
    save_steps: int
    store: StorePlace
    """Where checkpoints go."""
    prefix: str
    """Of the stage's output in the store."""
    model: str
    """Folder of the student."""
    folder: str
    """Holds the conversations; is given checkpoints and results."""
    resume: str | None = None
    """Folder of the checkpoint to go on from."""

    @property
    def work(self) -> Path:
        return Path(self.folder)

    @property
    def trained(self) -> Path:
        """Where the trained model is written."""
        return self.work / "model"

    @property
    def log(self) -> Path:
        """JSON lines: step, epoch, and loss with learning_rate, or eval_loss."""
        return self.work / "log.jsonl"

    @property
    def outcome(self) -> Path:
        return self.work / "outcome.json"


class SftOutcome(BaseModel):
    """How the training went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trained: int
    """Conversations."""
    validation: int
    steps: int
    epochs: int
    first_loss: float
    last_loss: float
    eval_loss: float | None
    """On the validation conversations after the last epoch; None where there are none."""


@dataclass(frozen=True)
class Stored:
    """A conversation and the file of its image."""

    conversation: Conversation
    image: Path


def unpack(rows: Iterable[tuple[Conversation, bytes]], folder: Path) -> None:
    """Writes conversations and images as the processes read them."""
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    with (folder / CONVERSATIONS).open("w", encoding="utf-8") as lines:
        for conversation, image in rows:
            path = folder / IMAGES / sha256(image)
            if not path.exists():
                path.write_bytes(image)
            lines.write(f"{path.name} {conversation.model_dump_json()}\n")


def unpacked(folder: Path, split: Split) -> list[Stored]:
    """The conversations of a split, in the order in which they were written."""
    found = []
    with (folder / CONVERSATIONS).open(encoding="utf-8") as lines:
        for line in lines:
            name, _, text = line.partition(" ")
            conversation = Conversation.model_validate_json(text)
            if conversation.split is split:
                found.append(Stored(conversation, folder / IMAGES / name))
    return found


def reading_order(conversations: int, science: SftScience) -> list[int]:
    """The conversations of the whole run, by number, one epoch after the other.

    Each epoch is shuffled by the seed and its own number, and filled up to whole batches with
    those that it began with. What a step sees so depends on no number of processes.
    """
    filled = -(-conversations // science.batch_size) * science.batch_size
    order: list[int] = []
    for epoch in range(science.epochs):
        shuffled = np.random.default_rng([science.seed, epoch]).permutation(conversations)
        order += np.resize(shuffled, filled).tolist()
    return order


def accumulation(batch_size: int, processes: int, micro_batch_size: int) -> int:
    """Micro batches that a process computes for one optimiser step.

    Raises:
        SpecError: the batch cannot be shared evenly.
    """
    at_once = processes * micro_batch_size
    if batch_size % at_once:
        raise SpecError(
            f"A batch of {batch_size} conversations cannot be shared by {processes} processes in micro "
            f"batches of {micro_batch_size}",
            where="science.sft.batch_size, placement.sft.processes, placement.sft.micro_batch_size",
            hint="choose processes x micro_batch_size so that it divides batch_size",
        )
    return batch_size // at_once


def write_log(job: SftJob, history: Sequence[Mapping[str, float]], trained: int, validation: int) -> None:
    """Writes the job's log and outcome.

    Args:
        job: whose.
        history: Trainer's, one mapping for each step and each evaluation.
        trained: conversations trained on.
        validation: conversations evaluated on.
    """
    steps = int(max(row["step"] for row in history))
    rows = [
        {"step": int(row["step"]), "epoch": round(row["step"] * job.science.epochs / steps, 6)}
        | {name: row[name] for name in ("loss", "eval_loss", "learning_rate") if name in row}
        for row in history
        if "loss" in row or "eval_loss" in row
    ]
    job.log.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    losses = [row["loss"] for row in rows if "loss" in row]
    evaluations = [row["eval_loss"] for row in rows if "eval_loss" in row]
    outcome = SftOutcome(
        trained=trained,
        validation=validation,
        steps=steps,
        epochs=job.science.epochs,
        first_loss=losses[0],
        last_loss=losses[-1],
        eval_loss=evaluations[-1] if evaluations else None,
    )
    job.outcome.write_text(outcome.model_dump_json(), encoding="utf-8")
