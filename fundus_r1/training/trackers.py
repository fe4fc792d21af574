"""Who else is told a training's figures: TensorBoard, MLflow, W&B, by Trainer's own integrations.

The figures are in the store in any case (``log.jsonl``); a tracker shows them while the training goes on.
Credentials come from the trackers' own variables, never from a spec.
"""

from __future__ import annotations

import importlib.util

from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import Trackers

_TRACKERS = {
    # Field of the spec -> package, and the variable that takes the field's value.
    "tensorboard": ("tensorboard", "TENSORBOARD_LOGGING_DIR"),
    "mlflow": ("mlflow", "MLFLOW_TRACKING_URI"),
    "wandb": ("wandb", "WANDB_PROJECT"),
}


def reports(trackers: Trackers) -> list[str]:
    """The trackers that are told, as Trainer names them.

    Raises:
        SpecError: one is not installed.
    """
    named = [name for name in _TRACKERS if getattr(trackers, name) is not None]
    for name in named:
        package, _ = _TRACKERS[name]
        if importlib.util.find_spec(package) is None:
            raise SpecError(
                f"The package {package} is not installed here, so it cannot be told how the training goes",
                where=f"placement.trackers.{name}",
                hint="pip install 'fundus-r1[trackers]', or take it out of the spec",
            )
    return named


def environment(trackers: Trackers) -> dict[str, str]:
    """Variables by which the integrations know where to report to."""
    return {
        variable: value
        for name, (_, variable) in _TRACKERS.items()
        if (value := getattr(trackers, name)) is not None
    }
