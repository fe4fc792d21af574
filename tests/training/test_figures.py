"""What a step costs, counted by hand; and what a GPU could have done."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.training.figures import Work, peak_flops


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H800", 989e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA GeForce RTX 3090", 71e12),
        ("Something else", None),
        ("cpu", None),
    ],
)
def test_a_gpu_is_known_by_its_name(device: str, peak: float | None) -> None:
    assert peak_flops(device, "bf16") == peak
    assert peak_flops(device, "fp32") is None


def test_the_parts_add_up() -> None:
    work = Work(token=10, learnt=100, token_pair=1, patch=1000, patch_pair=2, image_token=5000, merged=4)
    assert work.flops([3, 2], learnt=2, patches=[8]) == 50 + 200 + (9 + 4) + 8000 + 2 * 64 + 5000 * 2


@pytest.mark.engines
def test_a_frozen_tower_is_counted_forward_alone(tiny: Path) -> None:
    from fundus_r1.spec.training import Lora, SftScience
    from fundus_r1.training.figures import work_of
    from fundus_r1.training.student import load_student

    frozen = work_of(model := load_student(tiny, SftScience()))
    layers = sum(p.numel() for name, p in model.named_parameters() if "language_model.layers" in name)
    layers += sum(p.numel() for name, p in model.named_parameters() if "language_model.norm" in name)
    assert frozen.token == 6 * layers
    assert frozen.learnt == 6 * model.lm_head.weight.numel()
    trained = work_of(load_student(tiny, SftScience(train_vision=True, train_projector=True)))
    assert trained.patch == pytest.approx(3 * frozen.patch)
    assert trained.image_token == pytest.approx(3 * frozen.image_token)
    adapted = work_of(load_student(tiny, SftScience(lora=Lora(rank=1))))
    assert 4 * layers < adapted.token < 4.5 * layers, "what is frozen still hands the gradient on"
