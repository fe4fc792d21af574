"""Brings verl's checkpoints, and the history that belongs to them, to the store.

verl calls this after each save and waits for it: a checkpoint that it goes on from is one that
outlives the machine. The settings lie beside verl's folder of checkpoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback

from fundus_r1.storage import open_store
from fundus_r1.training import checkpoints
from fundus_r1.training.grpo import (
    CHECKPOINT_SETTINGS,
    CONFIGURATION,
    HISTORY,
    JOURNAL,
    CheckpointSettings,
)
from fundus_r1.training.grpo_history import History, Journal


class StoredCheckpoints(CheckpointCallback):
    """Uploads each checkpoint; writes verl's resolved configuration when training begins."""

    def __init__(self, config: Any = None):
        super().__init__(config)
        self._work = Path(config.trainer.default_local_dir).parent
        settings = (self._work / CHECKPOINT_SETTINGS).read_bytes()
        self._settings = CheckpointSettings.model_validate_json(settings)
        self._history = History.read(self._work / HISTORY)
        (self._work / CONFIGURATION).write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")

    def on_save(
        self, trainer: Any, global_step: int, checkpoint_dir: str, async_save: bool = False, **kwargs: Any
    ) -> None:
        """Folds the steps since the last checkpoint into the history and uploads both."""
        self._history.fold(Journal(self._work / JOURNAL), global_step)
        self._history.write(Path(checkpoint_dir) / HISTORY)
        store = open_store(self._settings.store)
        checkpoints.save(store, self._settings.prefix, global_step, Path(checkpoint_dir))
        checkpoints.prune(store, self._settings.prefix)
