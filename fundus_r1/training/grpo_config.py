"""What the spec means in verl's configuration: a pure function from it to verl's overrides.

verl 0.9 is configured by dotted keys (Hydra); this is the one place that knows them. A leading
``+`` marks a key that verl's schema does not list; every other key is checked by verl against its
schema. Sec. 3.3 and 4.1 of the paper give the algorithm (GRPO, four rollouts, temperature 1.0,
8 epochs, AdamW, bf16); `GrpoScience` marks what it leaves open.

What depends on the device is in `_cuda` and `_cpu`: on CUDA the choices of verl's published
Qwen2.5-VL example (no padding, flash attention, gradient checkpointing, reference policy
offloaded), on a CPU what its vLLM can do, and as few processes as possible.

verl 0.9.1 lists ``freeze_vision_tower`` in its schema, but its engine does not look at it: the key is
set so that the saved configuration tells the truth, and `training.verl_freeze` does the freezing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import GrpoPlace, Trackers
from fundus_r1.spec.training import GrpoScience
from fundus_r1.training.trackers import reports

Override = str | int | float | bool | None | list[str]
Overrides = dict[str, Override]

_ACTOR = "actor_rollout_ref.actor"
_ROLLOUT = "actor_rollout_ref.rollout"
_VLLM = f"{_ROLLOUT}.engine_kwargs.vllm"
_REF = "actor_rollout_ref.ref"
_MODEL = "actor_rollout_ref.model"


@dataclass(frozen=True)
class GrpoPaths:
    """Where verl finds and leaves its files."""

    model: Path
    """The policy to start from, a Hugging Face folder."""
    prompts: Path
    """Parquet in verl's format (`training.grpo_prompts`)."""
    rewards: Path
    """Settings of the reward function (JSON)."""
    checkpoints: Path
    rollouts: Path
    """verl leaves ``<step>.jsonl`` here: each rollout with the reward that it trained on."""


def _check_sizes(science: GrpoScience, place: GrpoPlace) -> None:
    rollouts = science.mini_batch_size * science.rollouts
    if science.batch_size % science.mini_batch_size:
        raise SpecError(
            f"A batch of {science.batch_size} prompts is no whole number of updates of "
            f"{science.mini_batch_size}",
            where="science.grpo.batch_size",
            hint="make batch_size a multiple of mini_batch_size",
        )
    longest = science.max_prompt_length + science.max_response_length
    if longest > place.max_model_len:
        raise SpecError(
            f"Prompt and response may have {longest} tokens together, but the engine takes only "
            f"{place.max_model_len}",
            where="placement.grpo.max_model_len",
            hint="set it to max_prompt_length + max_response_length at least",
        )
    if rollouts % (place.world * place.micro_batch_size):
        raise SpecError(
            f"An update has {rollouts} rollouts ({science.mini_batch_size} prompts x {science.rollouts}), "
            f"which {place.world} processes cannot share in portions of {place.micro_batch_size}",
            where="placement.grpo.micro_batch_size",
            hint="choose nodes x processes x micro_batch_size so that it divides mini_batch_size x rollouts",
        )


def _science(science: GrpoScience) -> Overrides:
    number = {"bf16": "bfloat16", "fp32": "float32"}[science.precision]
    return {
        **{
            f"{_ACTOR}.{key}": science.clip_ratio
            for key in ("clip_ratio", "clip_ratio_low", "clip_ratio_high")
        },
        **{
            f"+{part}.fsdp_config.mixed_precision.{field}": precision
            for part in (_ACTOR, _REF)
            for field, precision in [
                ("param_dtype", science.precision),
                ("reduce_dtype", "fp32"),
                ("buffer_dtype", "fp32"),
            ]
        },
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": True,
        "algorithm.use_kl_in_reward": False,
        "data.train_batch_size": science.batch_size,
        "data.max_prompt_length": science.max_prompt_length,
        "data.max_response_length": science.max_response_length,
        "data.shuffle": True,
        "data.seed": science.seed,
        f"{_ACTOR}.optim.optimizer": "AdamW",
        f"{_ACTOR}.optim.lr": science.learning_rate,
        f"{_ACTOR}.optim.weight_decay": science.weight_decay,
        f"{_ACTOR}.optim.clip_grad": science.max_grad_norm,
        f"{_ACTOR}.freeze_vision_tower": not science.train_vision,
        f"{_ACTOR}.ppo_mini_batch_size": science.mini_batch_size,
        f"{_ACTOR}.use_kl_loss": True,
        f"{_ACTOR}.kl_loss_coef": science.kl_coefficient,
        f"{_ACTOR}.kl_loss_type": "low_var_kl",
        f"{_ACTOR}.entropy_coeff": 0,
        f"{_ACTOR}.data_loader_seed": science.seed,
        f"{_ACTOR}.fsdp_config.seed": science.seed,
        f"{_ACTOR}.fsdp_config.dtype": number,
        f"{_ACTOR}.fsdp_config.model_dtype": "fp32",
        f"{_ROLLOUT}.n": science.rollouts,
        f"{_ROLLOUT}.temperature": science.temperature,
        f"{_ROLLOUT}.seed": science.seed,
        f"{_ROLLOUT}.dtype": number,
        "trainer.total_epochs": science.epochs,
    }


def _place(place: GrpoPlace, paths: GrpoPaths, trackers: Trackers) -> Overrides:
    return {
        "data.train_files": str(paths.prompts),
        "data.val_files": str(paths.prompts),
        "data.image_key": "images",
        # Prompts that are too long are found, and counted, when the parquet is written.
        "data.filter_overlong_prompts": False,
        "data.truncation": "error",
        f"{_MODEL}.path": str(paths.model),
        f"{_MODEL}.enable_gradient_checkpointing": True,
        f"{_ACTOR}.strategy": "fsdp2",
        f"{_ACTOR}.ppo_micro_batch_size_per_gpu": place.micro_batch_size,
        f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": place.micro_batch_size,
        f"{_REF}.log_prob_micro_batch_size_per_gpu": place.micro_batch_size,
        f"{_ROLLOUT}.name": "vllm",
        # verl's default starts vLLM on random weights and sends the real ones. What is a constant of
        # vLLM's model and no weight, such as the normalisation of images, would stay random: the
        # rollouts would be blind, and nothing would fail.
        f"{_ROLLOUT}.load_format": "auto",
        f"{_ROLLOUT}.mode": "async",
        f"{_ROLLOUT}.tensor_model_parallel_size": 1,
        f"{_ROLLOUT}.max_model_len": place.max_model_len,
        # One reward worker, so that the judge sees no more requests at once than the spec allows.
        "reward.num_workers": 1,
        "reward.custom_reward_function.path": "pkg://fundus_r1.rewards.verl_entry",
        "reward.custom_reward_function.name": "compute_score",
        "+reward.custom_reward_function.reward_kwargs.settings": str(paths.rewards),
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "RecordingRewardManager",
        "reward.reward_manager.module.path": "pkg://fundus_r1.training.verl_rewards",
        "trainer.device": place.device,
        "trainer.n_gpus_per_node": place.processes,
        "trainer.nnodes": place.nodes,
        "trainer.val_before_train": False,
        "trainer.test_freq": -1,
        "trainer.save_freq": place.save_steps,
        "trainer.max_actor_ckpt_to_keep": 1,
        "trainer.default_local_dir": str(paths.checkpoints),
        "trainer.resume_mode": "auto",
        "trainer.checkpoint_callback_class": "fundus_r1.training.verl_checkpoints.StoredCheckpoints",
        "trainer.rollout_data_dir": str(paths.rollouts),
        "trainer.logger": ["console", *reports(trackers)],
        "trainer.project_name": trackers.wandb or "fundus-r1",
        "trainer.experiment_name": "grpo",
        "+ray_kwargs.ray_init.include_dashboard": False,
        "hydra.run.dir": str(paths.checkpoints.parent / "hydra"),
    }


def _cuda(place: GrpoPlace) -> Overrides:
    return {
        "data.dataloader_num_workers": 8,
        f"{_MODEL}.use_remove_padding": True,
        "+actor_rollout_ref.model.override_config.attn_implementation": "flash_attention_2",
        f"{_REF}.fsdp_config.param_offload": True,
        f"{_ROLLOUT}.gpu_memory_utilization": 0.6,
        f"{_ROLLOUT}.enforce_eager": False,
        f"{_ROLLOUT}.free_cache_engine": True,
        # Without chunks, a batch of the prefill must hold the longest sequence.
        f"{_ROLLOUT}.enable_chunked_prefill": False,
        f"{_ROLLOUT}.max_num_batched_tokens": max(8192, place.max_model_len),
    }


def _cpu(science: GrpoScience, place: GrpoPlace) -> Overrides:
    return {
        "data.dataloader_num_workers": 0,
        f"{_MODEL}.use_remove_padding": False,
        "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        f"{_ACTOR}.use_torch_compile": False,
        f"{_ACTOR}.fsdp_config.use_torch_compile": False,
        f"{_REF}.fsdp_config.use_torch_compile": False,
        f"{_ROLLOUT}.enforce_eager": True,
        f"{_ROLLOUT}.free_cache_engine": False,
        f"+{_ROLLOUT}.enable_sleep_mode": False,
        f"{_ROLLOUT}.max_num_seqs": min(64, science.batch_size * science.rollouts),
        f"{_ROLLOUT}.max_num_batched_tokens": place.max_model_len,
        f"{_ROLLOUT}.agent.num_workers": 1,
        f"{_ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes": 64,
        f"+{_VLLM}.worker_extension_cls": "fundus_r1.training.cpu_rollout.CpuWorkerExtension",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }


def _own_ray(place: GrpoPlace) -> Overrides:
    if place.device == "cuda":
        return {}
    return {
        "+ray_kwargs.ray_init.num_gpus": place.processes,
        # verl asks for three CPUs a process and a few for its queue. Ray starts as many workers at
        # once as there are CPUs, so more would cost start-up time, fewer would hang.
        "ray_kwargs.ray_init.num_cpus": 3 * place.processes + 3,
    }


def _joined_ray(variables: Mapping[str, str]) -> Overrides:
    """A Ray that runs already has its own sizes, and its processes have not our environment."""
    return {f"+ray_kwargs.ray_init.runtime_env.env_vars.{name}": value for name, value in variables.items()}


def verl_overrides(
    science: GrpoScience,
    place: GrpoPlace,
    paths: GrpoPaths,
    trackers: Trackers,
    joins: Mapping[str, str] | None = None,
) -> Overrides:
    """The spec as verl's configuration keys.

    Args:
        science: what is computed.
        place: where, and how big.
        paths: of verl's files; all machines see them.
        trackers: who is told the figures.
        joins: environment variables for the processes of a Ray that runs already; None where verl starts
            its own, whose processes have that of verl.

    Raises:
        SpecError: the sizes do not fit each other as verl demands, several machines have no Ray, or a
            tracker is not installed.
    """
    _check_sizes(science, place)
    if joins is None and place.nodes > 1:
        raise SpecError(
            f"GRPO is to run on {place.nodes} machines, but no Ray is there that has them",
            where="placement.grpo.nodes",
            hint="set it to 1, or run the stage as a job on a cluster (placement.cluster)",
        )
    device = _cpu(science, place) if place.device == "cpu" else _cuda(place)
    ray = _own_ray(place) if joins is None else _joined_ray(joins)
    return _science(science) | _place(place, paths, trackers) | device | ray


def as_arguments(overrides: Overrides) -> list[str]:
    """The overrides as command-line arguments; texts are quoted as Hydra reads them."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in overrides.items()]
