"""The job of an SFT process group: what travels from the stage to the processes, and back.

Everything lies in one local folder, so that a process needs no more than the path of
``job.json``. What is taught lies there too (`sft_files`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fundus_r1.errors import SpecError
from fundus_r1.spec.base import Spec
from fundus_r1.spec.placement import SftPlace, StorePlace, Trackers
from fundus_r1.spec.training import SftScience

FIGURES = (
    "loss", "learning_rate", "grad_norm", "tokens", "learnt_tokens", "tokens_per_s", "mfu", "memory",
)  # fmt: skip
"""Of each optimiser step, as `training.sft_trainer` logs them: over all processes, but ``memory``, the most
bytes that the first process had. ``mfu`` is null where the device's peak is not known."""


class SftJob(Spec):
    """What the processes are to do. Credentials come from the environment."""

    science: SftScience
    place: SftPlace
    """How they are to share it out."""
    trackers: Trackers = Trackers()
    """Who else is told how it goes."""
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
    universal: bool = False
    """Whether that is in DeepSpeed's universal form, which any number of processes can take."""

    @property
    def work(self) -> Path:
        return Path(self.folder)

    @property
    def trained(self) -> Path:
        """Where the trained model is written."""
        return self.work / "model"

    @property
    def log(self) -> Path:
        """JSON lines: step, epoch, and `FIGURES`, or eval_loss."""
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
        | ({name: row.get(name) for name in FIGURES} if "loss" in row else {"eval_loss": row["eval_loss"]})
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
