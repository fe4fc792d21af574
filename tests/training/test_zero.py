"""ZeRO shares the training's state out, and a checkpoint says how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fundus_r1.errors import StageError
from fundus_r1.spec.placement import SftPlace
from fundus_r1.spec.training import SftScience
from fundus_r1.training.zero import adapt, zero_config


def _place(deepspeed: str) -> SftPlace:
    return SftPlace.model_validate({"deepspeed": deepspeed})


def test_plain_ddp_has_no_configuration() -> None:
    assert zero_config(_place("none"), SftScience()) is None


@pytest.mark.parametrize(
    ("deepspeed", "precision", "zero"),
    [
        ("zero2", "bf16", {"stage": 2}),
        ("zero3", "fp32", {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}),
    ],
)
def test_the_configuration_is_this(deepspeed: str, precision: str, zero: dict[str, Any]) -> None:
    science = SftScience.model_validate({"precision": precision, "max_grad_norm": 0.5})
    assert zero_config(_place(deepspeed), science, universal=True) == {
        "zero_optimization": {
            "contiguous_gradients": True,
            "overlap_comm": False,
            "reduce_scatter": True,
            **zero,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "gradient_clipping": 0.5,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "checkpoint": {"load_universal": True},
        "wall_clock_breakdown": False,
    }


def _checkpoint(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        path = folder / "global_step4" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


_ZERO2 = ("mp_rank_00_model_states.pt", *(f"zero_pp_rank_{n}_mp_rank_00_optim_states.pt" for n in range(2)))
_ZERO3 = (*_ZERO2[1:], *(f"zero_pp_rank_{n}_mp_rank_00_model_states.pt" for n in range(2)))


@pytest.mark.parametrize(("deepspeed", "names"), [("none", ()), ("zero2", _ZERO2), ("zero3", _ZERO3)])
def test_a_checkpoint_fits_the_group_that_wrote_it(
    tmp_path: Path, deepspeed: str, names: tuple[str, ...]
) -> None:
    checkpoint = _checkpoint(tmp_path, names)
    assert not adapt(checkpoint, _place(deepspeed), processes=2)
    for other in {"none", "zero2", "zero3"} - {deepspeed}:
        with pytest.raises(StageError, match=f"written with deepspeed={deepspeed}, not {other}"):
            adapt(checkpoint, _place(other), processes=2)


@pytest.mark.engines
def test_a_checkpoint_that_deepspeed_cannot_turn_is_told_of(tmp_path: Path) -> None:
    checkpoint = _checkpoint(tmp_path, _ZERO2)
    (checkpoint / "latest").write_text("global_step4")
    with pytest.raises(StageError, match="another number of processes") as caught:
        adapt(checkpoint, _place("zero2"), processes=3)
    assert "Error" in caught.value.where
