"""A vision tower that must not learn takes no gradient in verl's engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.models.tiny import build_tiny
from fundus_r1.spec.models import TinyModel

pytestmark = pytest.mark.engines


def test_the_tower_and_its_projector_take_no_gradient_and_the_language_model_does(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

    build = FSDPEngine._build_module
    from fundus_r1.training import verl_freeze

    assert FSDPEngine._build_module is not build
    model = AutoModelForImageTextToText.from_pretrained(
        build_tiny(tmp_path / "m", TinyModel(hidden=32, layers=1))
    )
    built = verl_freeze._frozen(lambda engine: model)(FSDPEngine.__new__(FSDPEngine))
    learning = {name for name, weight in built.named_parameters() if weight.requires_grad}
    vision = {name for name, _ in built.named_parameters() if ".visual." in name}
    assert vision and learning == {name for name, _ in built.named_parameters()} - vision
    assert isinstance(built, torch.nn.Module)
    # Other tests of this process see verl as it is.
    FSDPEngine._build_module = build
