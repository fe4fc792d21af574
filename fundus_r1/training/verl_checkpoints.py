"""Keeps what a step of verl leaves behind: its figures, and its checkpoint in the store.

verl saves a checkpoint in the middle of a step and knows the step's figures only at its end. A run
that goes on from that checkpoint must find them with it, or they are lost. So the callback that
verl offers only notes a checkpoint; what verl calls at the end of a step (`StoredSteps.log`) folds
the step into the history, tells verl's trackers, ends a run that has gone wrong, and only then
brings the checkpoint to the store. verl waits for it: a checkpoint that it goes on from is one that
outlives the machine, and what has gone wrong is never one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.trainer.ppo.v1 import trainer_base
from verl.utils.tracking import Tracking

from fundus_r1.errors import ModelError
from fundus_r1.storage import open_store
from fundus_r1.training import checkpoints
from fundus_r1.training.grpo import (
    CONFIGURATION,
    FAILURE,
    HISTORY,
    JOURNAL,
    STEP_SETTINGS,
    StepSettings,
)
from fundus_r1.training.grpo_history import History, Journal
from fundus_r1.training.grpo_steps import FIGURES, check, check_judge

_OURS = "fundus_r1/"
"""Before the names of our figures, among verl's."""


class StoredCheckpoints(CheckpointCallback):
    """Notes each checkpoint; writes verl's resolved configuration when training begins."""

    def __init__(self, config: Any = None):
        super().__init__(config)
        path = Path(config.trainer.default_local_dir).parent / CONFIGURATION
        path.write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")

    def on_save(
        self, trainer: Any, global_step: int, checkpoint_dir: str, async_save: bool = False, **kwargs: Any
    ) -> None:
        """Hands it on to be stored at the end of the step."""
        trainer.logger.checkpoint = Path(checkpoint_dir)


class StoredSteps(Tracking):
    """verl's trackers, which also keep the history and the checkpoints of a run.

    Attributes:
        checkpoint: what verl has saved in this step; None if it has not.
    """

    def __init__(
        self,
        project_name: str,
        experiment_name: str,
        default_backend: str | list[str] = "console",
        config: Any = None,
    ):
        super().__init__(project_name, experiment_name, default_backend, config)
        self._work = Path(config["trainer"]["default_local_dir"]).parent
        settings = (self._work / STEP_SETTINGS).read_bytes()
        self._settings = StepSettings.model_validate_json(settings)
        self._history = History.read(self._work / HISTORY)
        self._on_cpu = config["trainer"]["device"] == "cpu"
        self.checkpoint: Path | None = None

    def log(self, data: Mapping[str, Any], step: int, backend: Any = None) -> None:
        """Ends a step.

        Raises:
            ModelError: the run has gone wrong.
            StoreError: the store refused the checkpoint.
        """
        measured = {name: float(value) for name, value in data.items()}
        if self._on_cpu:
            # verl takes some other CPU's peak for this one's, and there is no memory of a device.
            for name in ("mfu", "device_memory"):
                measured.pop(FIGURES[name], None)
        row = self._history.fold(
            Journal(self._work / JOURNAL), step, measured, self._settings.max_response_length
        )
        ours = {
            f"{_OURS}{name}": value for name, value in row.items() if name not in FIGURES and name != "step"
        }
        super().log(measured | ours, step, backend)
        try:
            check(
                self._history.rewards,
                max_kl=self._settings.max_kl,
                empty_advantage_steps=self._settings.empty_advantage_steps,
            )
            check_judge(row, self._settings.bad_share)
        except ModelError as error:
            (self._work / FAILURE).write_text(str(error), encoding="utf-8")
            raise
        if self.checkpoint is not None:
            self._history.write(self.checkpoint / HISTORY)
            store = open_store(self._settings.store)
            checkpoints.save(store, self._settings.prefix, step, self.checkpoint)
            checkpoints.prune(store, self._settings.prefix)
            self.checkpoint = None


# Set once a process: verl's trainer makes its trackers by this name.
trainer_base.Tracking = StoredSteps
