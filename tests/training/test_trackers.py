"""A tracker is named to Trainer, or missed before any training."""

from __future__ import annotations

import importlib.util

import pytest

from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import Trackers
from fundus_r1.training.trackers import environment, reports


def test_nobody_is_told_by_default() -> None:
    assert (reports(Trackers()), environment(Trackers())) == ([], {})


def test_each_gets_its_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    trackers = Trackers(tensorboard="/logs", mlflow="http://mlflow:5000", wandb="fundus")
    assert reports(trackers) == ["tensorboard", "mlflow", "wandb"]
    assert environment(trackers) == {
        "TENSORBOARD_LOGGING_DIR": "/logs",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "WANDB_PROJECT": "fundus",
    }


def test_a_missing_package_is_told_with_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match="The package mlflow is not installed") as caught:
        reports(Trackers(mlflow="http://mlflow:5000"))
    assert caught.value.where == "placement.trackers.mlflow"
