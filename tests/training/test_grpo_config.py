"""The mapping from the spec to verl's configuration, as a whole and against verl's own schema."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.errors import SpecError
from fundus_r1.spec import load_spec
from fundus_r1.spec.placement import GrpoPlace, Trackers
from fundus_r1.spec.training import GrpoScience
from fundus_r1.training.grpo_config import GrpoPaths, Overrides, as_arguments, verl_overrides
from fundus_r1.training.grpo_environment import environment

GOLDEN = Path(__file__).parents[1] / "golden"
PATHS = GrpoPaths(
    model=Path("/run/start"),
    prompts=Path("/run/prompts.parquet"),
    rewards=Path("/run/rewards.json"),
    checkpoints=Path("/run/checkpoints"),
    rollouts=Path("/run/rollouts"),
)
TINY = load_spec(Path(__file__).parents[2] / "pipelines" / "specs" / "tiny.yaml")
SMALL, ON_CPU = TINY.science.grpo, TINY.placement.grpo


def mapping(device: str) -> Overrides:
    if device == "cpu":
        return verl_overrides(SMALL, ON_CPU, PATHS, Trackers())
    return verl_overrides(GrpoScience(), GrpoPlace(), PATHS, Trackers())


def composed(overrides: Overrides) -> Any:
    """What verl's main program would get, by its own schema."""
    hydra = pytest.importorskip("hydra")
    verl = importlib.util.find_spec("verl")
    assert verl is not None and verl.submodule_search_locations
    folder = Path(verl.submodule_search_locations[0], "trainer", "config")
    with hydra.initialize_config_dir(str(folder), version_base=None):
        arguments = [item for item in as_arguments(overrides) if not item.startswith("hydra.")]
        return hydra.compose("ppo_trainer", overrides=arguments)


@pytest.mark.engines
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_verls_whole_resolved_configuration_is_the_golden_one(
    device: str, golden_bytes: Callable[[Path, bytes], None]
) -> None:
    """What a run saves as ``verl.yaml``: of the tiny run on a CPU, and of the paper's on GPUs."""
    from omegaconf import OmegaConf

    text = OmegaConf.to_yaml(composed(mapping(device)), resolve=True)
    golden_bytes(GOLDEN / f"verl_{device}.yaml", text.encode())


@pytest.mark.engines
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_verl_knows_every_key_and_reads_every_value_as_meant(device: str) -> None:
    from omegaconf import OmegaConf

    overrides = mapping(device)
    config = composed(overrides)
    for key, value in overrides.items():
        if not key.startswith("hydra."):
            assert OmegaConf.select(config, key.lstrip("+")) == value, key


@pytest.mark.engines
def test_a_key_that_verl_does_not_know_is_refused() -> None:
    from hydra.errors import ConfigCompositionException

    with pytest.raises(ConfigCompositionException):
        composed({"actor_rollout_ref.rollout.temprature": 1.0})


@pytest.mark.engines
def test_a_path_with_odd_characters_arrives_as_it_is() -> None:
    odd = Path("/tmp/a b/c=d,e/[f]{g}/über'h\"i")
    config = composed({"trainer.default_local_dir": str(odd)})
    assert config.trainer.default_local_dir == str(odd)


def test_the_paper_run_is_the_papers() -> None:
    paper = mapping("cuda")
    assert paper["actor_rollout_ref.rollout.n"] == 4
    assert paper["actor_rollout_ref.rollout.temperature"] == 1.0
    assert paper["trainer.total_epochs"] == 8
    assert paper["actor_rollout_ref.actor.optim.optimizer"] == "AdamW"
    assert paper["actor_rollout_ref.actor.fsdp_config.dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("science", "place", "told"),
    [
        ({"batch_size": 12}, {}, "no whole number of updates"),
        ({"mini_batch_size": 2, "rollouts": 3}, {}, "cannot share in portions of 4"),
        ({}, {"processes": 3}, "3 processes cannot share"),
        ({"max_response_length": 600}, {}, "1368 tokens together"),
    ],
)
def test_sizes_that_do_not_fit_are_told_before_anything_starts(
    science: dict[str, int], place: dict[str, int], told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        verl_overrides(SMALL.model_copy(update=science), ON_CPU.model_copy(update=place), PATHS, Trackers())


def test_the_place_changes_no_science() -> None:
    changed = ON_CPU.model_copy(update={"processes": 2, "micro_batch_size": 2, "save_steps": 1})
    before, after = mapping("cpu"), verl_overrides(SMALL, changed, PATHS, Trackers())
    differing = {key for key in before if before[key] != after[key]}
    assert all(
        "micro_batch" in key or key.split(".")[0].lstrip("+") in ("trainer", "ray_kwargs")
        for key in differing
    )


def test_the_cpu_plug_in_is_loaded_on_a_cpu_alone() -> None:
    on_cpu = environment(ON_CPU, Path("/cache"), Path("/tmp/x"))
    on_cuda = environment(GrpoPlace(), Path("/cache"), Path("/tmp/x"))
    assert "cpu_platform" in on_cpu["VERL_USE_EXTERNAL_MODULES"] and on_cpu["VERL_PLATFORM"] == "cpu"
    assert on_cuda["VERL_USE_EXTERNAL_MODULES"] == "fundus_r1.training.verl_repairs"
    assert "VERL_PLATFORM" not in on_cuda


def test_what_the_spec_says_of_the_update_reaches_verl() -> None:
    changed = SMALL.model_copy(
        update={"weight_decay": 0.3, "max_grad_norm": 0.7, "clip_ratio": 0.1, "train_vision": False}
    )
    actor = "actor_rollout_ref.actor"
    found = verl_overrides(changed, ON_CPU, PATHS, Trackers())
    # verl takes the lower and the upper bound where it finds them, and its schema has both.
    assert {found[f"{actor}.clip_ratio{side}"] for side in ("", "_low", "_high")} == {0.1}
    assert (found[f"{actor}.optim.weight_decay"], found[f"{actor}.optim.clip_grad"]) == (0.3, 0.7)
    assert found[f"{actor}.freeze_vision_tower"] is True
    frozen = environment(ON_CPU, Path("/cache"), Path("/tmp/x"), train_vision=False)
    assert "fundus_r1.training.verl_freeze" in frozen["VERL_USE_EXTERNAL_MODULES"]


def test_trackers_are_told_to_verl_and_those_that_are_not_named_stay_out() -> None:
    trackers = Trackers(tensorboard="events", wandb="my-project")
    found = verl_overrides(SMALL, ON_CPU, PATHS, trackers)
    assert found["trainer.logger"] == ["console", "tensorboard", "wandb"]
    assert found["trainer.project_name"] == "my-project"
    told = environment(ON_CPU, Path("/cache"), Path("/tmp/x"), trackers=trackers)
    assert told["TENSORBOARD_DIR"] == str(Path.cwd() / "events") and "WANDB_MODE" not in told
    assert mapping("cpu")["trainer.logger"] == ["console"]
    assert environment(ON_CPU, Path("/cache"), Path("/tmp/x"))["WANDB_MODE"] == "disabled"


def test_a_tracker_that_is_not_installed_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match="mlflow is not installed"):
        verl_overrides(SMALL, ON_CPU, PATHS, Trackers(mlflow="http://localhost"))
