"""Environment variables of verl's processes: its plug-ins, quiet services, and where trackers report to."""

from __future__ import annotations

from pathlib import Path

from fundus_r1.spec.placement import GrpoPlace, Trackers


def environment(
    place: GrpoPlace,
    cache: Path,
    temporary: Path,
    *,
    train_vision: bool = True,
    trackers: Trackers | None = None,
) -> dict[str, str]:
    """Environment variables of verl's processes. None changes what is computed, but for ``train_vision``.

    Args:
        place: where the run happens.
        cache: a folder with room for a copy of the prompts with their images.
        temporary: for temporary files, and for Ray. Its name is short: sockets below it may have
            names of 107 bytes at most.
        train_vision: whether the vision tower learns.
        trackers: who is told the figures of each step.
    """
    modules = ["fundus_r1.training.verl_repairs"]
    if not train_vision:
        modules.append("fundus_r1.training.verl_freeze")
    common = {
        "TMPDIR": str(temporary),
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1",
        "HYDRA_FULL_ERROR": "1",
        "PYTHONUNBUFFERED": "1",
        "RAY_ADDRESS": "local",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        **_tracking(trackers or Trackers()),
    }
    if place.device == "cuda":
        return common | {"VERL_USE_EXTERNAL_MODULES": ",".join(modules)}
    return common | {
        "VERL_USE_EXTERNAL_MODULES": ",".join(["fundus_r1.training.cpu_platform", *modules]),
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
        "OMP_NUM_THREADS": "1",
        # Compiling for a model this small takes longer than it ever saves.
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }


def _tracking(trackers: Trackers) -> dict[str, str]:
    """Where verl's own integrations report to; a folder's path is made whole, as verl runs elsewhere."""
    found = {}
    if trackers.tensorboard is not None:
        found["TENSORBOARD_DIR"] = str(Path(trackers.tensorboard).absolute())
    if trackers.mlflow is not None:
        found["MLFLOW_TRACKING_URI"] = trackers.mlflow
    if trackers.wandb is None:
        found["WANDB_MODE"] = "disabled"
    return found
