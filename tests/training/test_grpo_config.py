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
from fundus_r1.training.grpo_environment import environment, for_joined_ray

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


def test_several_machines_share_an_update_among_all_their_processes() -> None:
    science = SMALL.model_copy(update={"batch_size": 4, "mini_batch_size": 4, "rollouts": 4})
    place = ON_CPU.model_copy(update={"nodes": 2, "processes": 2, "micro_batch_size": 4})
    found = verl_overrides(science, place, PATHS, Trackers(), joins={})
    assert (found["trainer.nnodes"], found["trainer.n_gpus_per_node"]) == (2, 2)
    with pytest.raises(SpecError, match="6 processes cannot share"):
        verl_overrides(science, place.model_copy(update={"nodes": 3}), PATHS, Trackers(), joins={})


def test_several_machines_without_a_ray_that_has_them_are_refused() -> None:
    place = GrpoPlace(nodes=2, processes=4)
    with pytest.raises(SpecError, match="2 machines, but no Ray is there"):
        verl_overrides(GrpoScience(), place, PATHS, Trackers())


@pytest.mark.engines
def test_a_ray_that_runs_already_keeps_its_sizes_and_its_processes_get_our_environment() -> None:
    """Ray refuses sizes where it is joined; its processes have the environment of their pods."""
    ours = environment(ON_CPU, Path("/shared/cache"), Path("/tmp/x"), ray="10.0.0.1:6379")
    assert ours["RAY_ADDRESS"] == "10.0.0.1:6379" and "RAY_AUTH_TOKEN" not in ours
    joins = for_joined_ray(ours)
    assert joins is not None and joins["HF_HOME"] == "/shared/cache"
    config = composed(verl_overrides(SMALL, ON_CPU, PATHS, Trackers(), joins=joins))
    init = config.ray_kwargs.ray_init
    assert init.num_cpus is None and "num_gpus" not in init
    assert dict(init.runtime_env.env_vars) == joins
    assert not joins.keys() & {"TMPDIR", "RAY_ADDRESS"}


def test_a_ray_of_ones_own_has_a_token_of_its_own_each_time() -> None:
    tokens = {environment(ON_CPU, Path("/c"), Path("/t"))["RAY_AUTH_TOKEN"] for _ in range(2)}
    assert len(tokens) == 2
    assert for_joined_ray(environment(ON_CPU, Path("/c"), Path("/t"))) is None


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
