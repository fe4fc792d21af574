"""Environment variables of verl's processes: its plug-ins, quiet services, and where trackers report to."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from fundus_r1.spec.placement import GrpoPlace, Trackers

OWN_RAY = "local"
"""``RAY_ADDRESS`` of a Ray that verl starts for itself."""
_OF_THE_DRIVER = ("TMPDIR", "RAY_ADDRESS", "RAY_USAGE_STATS_ENABLED", "RAY_DEDUP_LOGS", "PYTHONUNBUFFERED")


def environment(
    place: GrpoPlace,
    cache: Path,
    temporary: Path,
    *,
    train_vision: bool = True,
    trackers: Trackers | None = None,
    ray: str = OWN_RAY,
) -> dict[str, str]:
    """Environment variables of verl's processes. None changes what is computed, but for ``train_vision``.

    Args:
        place: where the run happens.
        cache: a folder with room for a copy of the prompts with their images.
        temporary: for temporary files, and for Ray. Its name is short: sockets below it may have
            names of 107 bytes at most.
        train_vision: whether the vision tower learns.
        trackers: who is told the figures of each step.
        ray: address of the Ray to join.
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
        "RAY_ADDRESS": ray,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        **_tracking(trackers or Trackers()),
    }
    if ray == OWN_RAY:
        # Ray would keep its token in the home folder, which may be read-only, and share it.
        common["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
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


def for_joined_ray(variables: Mapping[str, str]) -> dict[str, str] | None:
    """Those of `environment` that verl's processes need in a Ray that runs already, on whatever machine.

    None where verl starts its own Ray, whose processes have them all.
    """
    if variables["RAY_ADDRESS"] == OWN_RAY:
        return None
    return {name: value for name, value in variables.items() if name not in _OF_THE_DRIVER}


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
