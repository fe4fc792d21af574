"""A training that has gone wrong is stopped, and what was seen is said."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.engines


def _told(*logs: dict[str, float], divergence: float | None = 2.0) -> None:
    from transformers import TrainerControl, TrainerState

    from fundus_r1.training.sft_watch import SftWatch

    watch, state = SftWatch(100, None, divergence, None), TrainerState()
    arguments: Any = None
    for step, row in enumerate(logs, start=1):
        state.global_step = step
        state.log_history.append(row)
        watch.on_log(arguments, state, TrainerControl(), row)


@pytest.mark.parametrize(
    ("name", "what"),
    [("loss", "The loss of step 2 is nan"), ("grad_norm", "norm of the gradients of step 2")],
)
def test_what_is_no_number_stops_the_run(name: str, what: str) -> None:
    from fundus_r1.errors import ModelError

    good = {"loss": 1.0, "grad_norm": 1.0}
    with pytest.raises(ModelError, match=what):
        _told(good, {**good, name: float("nan")})


def test_a_loss_that_grows_stops_the_run() -> None:
    from fundus_r1.errors import ModelError

    losses = [{"loss": value} for value in [1.0] * 10 + [1.9] * 10 + [2.1] * 10]
    with pytest.raises(ModelError, match=r"last 10 steps, up to 25, is 2, over the first 10 it was 1\n"):
        _told(*losses[:20], *([{"loss": 2.1}] * 10), divergence=1.99)
    _told(*losses[:20])
    _told(*losses, divergence=None)


def test_evaluations_do_not_count() -> None:
    _told(*([{"loss": 1.0}] * 10), *([{"eval_loss": 9.0}] * 20))
