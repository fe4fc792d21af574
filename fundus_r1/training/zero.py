"""DeepSpeed's ZeRO: the training's state shared out among its processes (Rajbhandari et al. 2020).

With ZeRO-2 each process keeps its part of the gradients and of the optimiser's state, with ZeRO-3 its part
of the weights too. Optimiser, schedule, clipping and loss are those of plain DDP, so the loss curve is the
same. Nothing is offloaded: what a GPU cannot hold is shared among more of them.

A checkpoint holds one file a process. To go on with another number of processes it is first turned into
DeepSpeed's universal form, which names each weight's part of the optimiser's state.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fundus_r1.errors import StageError
from fundus_r1.spec.placement import SftPlace
from fundus_r1.spec.training import SftScience

STAGES = {"zero2": 2, "zero3": 3}
UNIVERSAL = "universal"
_LATEST, _LATEST_UNIVERSAL = "latest", "latest_universal"
_TOLD_LINES = 8


def zero_config(place: SftPlace, science: SftScience, *, universal: bool = False) -> dict[str, Any] | None:
    """DeepSpeed's configuration; None for plain DDP.

    Args:
        place: which state is shared out.
        science: precision and clipping.
        universal: whether the run goes on from a checkpoint in the universal form.
    """
    if place.deepspeed == "none":
        return None
    zero: dict[str, Any] = {
        "stage": STAGES[place.deepspeed],
        "contiguous_gradients": True,
        "overlap_comm": False,
        "reduce_scatter": True,
    }
    if place.deepspeed == "zero3":
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        # The optimiser is torch's AdamW, as without DeepSpeed.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": science.precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "gradient_clipping": science.max_grad_norm,
        # Trainer fills these in, with what it counts in.
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "checkpoint": {"load_universal": universal},
        "wall_clock_breakdown": False,
    }


def join_on_cpu() -> None:
    """Lets DeepSpeed talk through the process group that there is; accelerate sees to it on GPUs alone.

    DeepSpeed would compile an operation for shared memory at its first start (some 25 s, with a C++
    compiler); torch's own process group does the same.
    """
    import deepspeed

    # DeepSpeed 0.19 calls torch 2.13 by names that it has begun to replace, at every step.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo")


def adapt(checkpoint: Path, place: SftPlace, processes: int) -> bool:
    """Makes a checkpoint fit for a group.

    Args:
        checkpoint: its folder; it may be changed.
        place: which state the group shares out.
        processes: in the group.

    Returns:
        Whether it is in the universal form now.

    Raises:
        StageError: it shares out other state than the group does, or DeepSpeed could not turn it.
    """
    found = _kind(checkpoint)
    if found != place.deepspeed:
        raise StageError(
            f"The checkpoint to go on from was written with deepspeed={found}, not {place.deepspeed}",
            where="placement.sft.deepspeed",
            hint="set it to what it was, or delete the stage's checkpoints in the store to begin anew",
        )
    if found == "none" or len(_shards(checkpoint)) == processes:
        return False
    _make_universal(checkpoint)
    return True


def mend(optimizer: Any, decays: Sequence[float]) -> None:
    """Puts right what DeepSpeed 0.19 makes of an optimiser that it loads in the universal form.

    It gives all groups the weight decay of the first, and all states one counter of steps, which then counts
    each step several times.

    Args:
        optimizer: torch's own, within DeepSpeed's.
        decays: weight decay of each group.
    """
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = copy.deepcopy(state["step"])


def _shards(checkpoint: Path) -> list[Path]:
    """The files with a process's part of the optimiser's state."""
    return list(checkpoint.glob("global_step*/*zero_pp_rank_*_optim_states.pt"))


def _kind(checkpoint: Path) -> str:
    if not _shards(checkpoint):
        return "none"
    # With ZeRO-3 each process has a part of the weights, too.
    return "zero3" if list(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt")) else "zero2"


def _make_universal(checkpoint: Path) -> None:
    tag = (checkpoint / _LATEST).read_text(encoding="utf-8").strip()
    argv = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    argv += ["--input_folder", str(checkpoint / tag), "--output_folder", str(checkpoint / UNIVERSAL)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise StageError(
            "DeepSpeed could not prepare a checkpoint for another number of processes",
            where="\n".join(done.stdout.rstrip().splitlines()[-_TOLD_LINES:]),
            hint="set placement.sft.processes to the number before, or delete the checkpoints in the store",
        )
    (checkpoint / _LATEST_UNIVERSAL).write_text(UNIVERSAL, encoding="utf-8")
