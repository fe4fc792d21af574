"""Watches an SFT training: tells how far it is, saves it, and stops it when it has gone wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fundus_r1.errors import ModelError
from fundus_r1.progress import Progress
from fundus_r1.training.process_group import rank
from fundus_r1.training.uploads import Uploads

WINDOW = 10
"""Steps over which the loss is averaged before it is compared."""


def diverged(losses: Sequence[float], factor: float) -> bool:
    """Whether the mean of the last ten losses is more than `factor` times that of the first ten."""
    if len(losses) < 2 * WINDOW:
        return False
    return sum(losses[-WINDOW:]) > factor * sum(losses[:WINDOW])


class SftWatch(TrainerCallback):
    """Is called by Trainer in each process.

    Args:
        steps: optimiser steps of the run.
        steps_per_epoch: after how many the loss on the validation conversations is measured; None where
            there are none.
        divergence: how many times its first value the loss may reach; None is any.
        uploads: takes the checkpoints; None in all processes but the first of each machine.
    """

    def __init__(
        self, steps: int, steps_per_epoch: int | None, divergence: float | None, uploads: Uploads | None
    ):
        self.steps_per_epoch = steps_per_epoch
        self.divergence = divergence
        self.uploads = uploads
        self.progress = Progress("sft", steps, "steps")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Here, and not at the end of an epoch, so that a checkpoint of this step holds the result.
        if self.steps_per_epoch is not None and state.global_step % self.steps_per_epoch == 0:
            control.should_evaluate = True
        if self.uploads is not None:
            self.uploads.check()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        if "loss" not in logs:
            return
        for name, what in (("loss", "loss"), ("grad_norm", "norm of the gradients")):
            if not math.isfinite(logs.get(name, 0.0)):
                raise ModelError(
                    f"The {what} of step {state.global_step} is {logs[name]}",
                    where="science.sft",
                    hint="lower science.sft.learning_rate, or set science.sft.precision to fp32",
                )
        losses = [row["loss"] for row in state.log_history if "loss" in row]
        if self.divergence is not None and diverged(losses, self.divergence):
            raise ModelError(
                f"The loss grows: its mean over the last {WINDOW} steps, up to {state.global_step}, is "
                f"{sum(losses[-WINDOW:]) / WINDOW:.4g}, over the first {WINDOW} it was "
                f"{sum(losses[:WINDOW]) / WINDOW:.4g}",
                where=f"placement.sft.divergence is {self.divergence:g}",
                hint="lower science.sft.learning_rate; placement.sft.divergence: null lets it go on",
            )
        if rank() == 0:
            self.progress.set(state.global_step, loss=logs["loss"])

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.uploads is not None:
            self.uploads.prepare(state.global_step)
        if distributed.is_initialized():
            # Each process writes a part of its own; all must be there before any is taken.
            distributed.barrier()
        if self.uploads is not None:
            self.uploads.begin(
                state.global_step, Path(str(args.output_dir), f"checkpoint-{state.global_step}")
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.uploads is not None:
            self.uploads.wait()
