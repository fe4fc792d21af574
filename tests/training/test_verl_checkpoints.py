"""The end of a step in verl's trainer: history, trackers, checkpoint; and what is never stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.spec.placement import StorePlace
from fundus_r1.storage import open_store
from fundus_r1.training import checkpoints
from fundus_r1.training.grpo import JOURNAL, STEP_SETTINGS, StepSettings
from fundus_r1.training.grpo_history import History, Journal

pytestmark = pytest.mark.engines

PREFIX = "grpo/f"
Steps = Callable[..., Any]


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    """Makes verl's trackers for a run in ``tmp_path/work``, as verl's trainer does."""

    def make(*backends: str, empty: int | None = None, device: str = "cpu") -> Any:
        from fundus_r1.training.verl_checkpoints import StoredSteps

        settings = StepSettings(
            store=StorePlace(kind="folder", path=str(tmp_path / "store")),
            prefix=PREFIX,
            max_response_length=64,
            max_kl=None,
            empty_advantage_steps=empty,
            bad_share=0.1,
        )
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        (work / STEP_SETTINGS).write_text(settings.model_dump_json())
        config = {"trainer": {"default_local_dir": str(work / "checkpoints"), "device": device}}
        return StoredSteps("fundus-r1", "grpo", list(backends), config)

    return make


def rewarded(work: Path, step: int, scores: tuple[float, ...] = (0.0, 1.0)) -> None:
    for number, score in enumerate(scores):
        Journal(work / JOURNAL).append(
            {
                "step": step,
                "uid": f"p_{number}_0",
                "triplet_id": "t",
                "text": "…",
                "score": score,
                "answer": score,
                "response_length": 10,
            }
        )


def saved(steps: Any, work: Path, step: int) -> None:
    """verl saves a checkpoint, in the middle of a step."""
    from fundus_r1.training.verl_checkpoints import StoredCheckpoints

    folder = work / "checkpoints" / f"global_step_{step}"
    (folder / "actor").mkdir(parents=True)
    (folder / "actor" / "model.pt").write_bytes(b"weights")
    callback = StoredCheckpoints.__new__(StoredCheckpoints)
    callback.on_save(trainer=SimpleNamespace(logger=steps), global_step=step, checkpoint_dir=str(folder))


def fetched(tmp_path: Path) -> tuple[int | None, History]:
    store = open_store(StorePlace(kind="folder", path=str(tmp_path / "store")))
    step = checkpoints.latest(store, PREFIX, tmp_path / "fetched")
    return step, History.read(tmp_path / "fetched" / "history")


def test_verls_trainer_makes_these_trackers() -> None:
    from verl.trainer.ppo.v1 import trainer_base

    from fundus_r1.training.verl_checkpoints import StoredSteps

    assert trainer_base.Tracking is StoredSteps


def test_a_checkpoint_is_stored_with_the_figures_of_its_own_step(tmp_path: Path, steps: Steps) -> None:
    work, made = tmp_path / "work", steps("console")
    for step in (1, 2):
        rewarded(work, step)
        if step == 2:
            saved(made, work, step)
            assert fetched(tmp_path)[0] is None, "its figures are not known yet"
        made.log({"actor/kl_loss": step / 10, "perf/throughput": 5.0}, step)
    found, history = fetched(tmp_path)
    assert found == 2 and (tmp_path / "fetched" / "actor" / "model.pt").read_bytes() == b"weights"
    assert [(row["step"], row["kl"], row["score"]) for row in history.rewards] == [
        (1, 0.1, 0.5),
        (2, 0.2, 0.5),
    ]
    rewarded(work, 3)
    made.log({}, 3)
    assert fetched(tmp_path)[0] == 2, "a step without a checkpoint stores none"


def test_a_resumed_run_goes_on_with_the_history_of_its_checkpoint(tmp_path: Path, steps: Steps) -> None:
    work = tmp_path / "work"
    first = steps("console")
    rewarded(work, 1)
    saved(first, work, 1)
    first.log({"actor/kl_loss": 0.1}, 1)
    fetched(tmp_path)
    (tmp_path / "fetched" / "history").rename(work / "history")
    second = steps("console")
    rewarded(work, 2)
    saved(second, work, 2)
    second.log({"actor/kl_loss": 0.2}, 2)
    assert [row["kl"] for row in fetched(tmp_path)[1].rewards] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("limits", "scores", "measured", "told"),
    [
        ({}, (0.0, 1.0), {"actor/grad_norm": float("nan")}, "norm of the gradients of GRPO step 1 is nan"),
        ({"empty": 1}, (1.0, 1.0), {}, "Nothing has been learnt in the 1 steps up to 1"),
    ],
)
def test_a_step_that_has_gone_wrong_ends_the_run_and_is_never_a_checkpoint(
    tmp_path: Path,
    steps: Steps,
    limits: dict[str, int],
    scores: tuple[float, ...],
    measured: dict[str, float],
    told: str,
) -> None:
    work, made = tmp_path / "work", steps("console", **limits)
    rewarded(work, 1, scores)
    saved(made, work, 1)
    with pytest.raises(ModelError, match=told):
        made.log(measured, 1)
    assert told in (work / "failure.txt").read_text()
    assert fetched(tmp_path)[0] is None


def test_trackers_are_told_the_parts_of_the_reward_beside_verls_figures(
    tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_DIR", str(tmp_path / "events"))
    made = steps("console", "tensorboard")
    for step in (1, 2):
        rewarded(tmp_path / "work", step, (0.0, float(step)))
        made.log({"actor/kl_loss": step / 10}, step)
    made.finish()
    events = reader.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    for name, values in {
        "actor/kl_loss": [0.1, 0.2], "fundus_r1/answer": [0.5, 1.0], "fundus_r1/zero_advantage": [0.0, 0.0],
    }.items():  # fmt: skip
        assert [event.value for event in events.Scalars(name)] == pytest.approx(values), name
        assert [event.step for event in events.Scalars(name)] == [1, 2]


def test_the_line_that_the_stage_follows_holds_the_figures(
    tmp_path: Path, steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    from fundus_r1.training.grpo_watch import figures

    rewarded(tmp_path / "work", 1)
    steps("console").log({"critic/score/mean": 0.5}, 1)
    [found] = [step for line in capsys.readouterr().out.splitlines() if (step := figures(line))]
    assert found[0] == 1
    assert (found[1]["critic/score/mean"], found[1]["fundus_r1/answer"]) == (0.5, 0.5)


@pytest.mark.parametrize(("device", "known"), [("cpu", False), ("cuda", True)])
def test_the_use_of_a_device_is_kept_where_its_peak_is_known(
    tmp_path: Path, steps: Steps, device: str, known: bool
) -> None:
    work, made = tmp_path / "work", steps("console", device=device)
    rewarded(work, 1)
    saved(made, work, 1)
    made.log({"perf/mfu/actor": 0.4, "actor/perf/max_memory_allocated_gb": 3.0}, 1)
    [row] = fetched(tmp_path)[1].rewards
    assert ("mfu" in row) is known and ("device_memory" in row) is known
