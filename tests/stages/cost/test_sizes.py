"""How big a model is, from its name, its folder or its shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.spec.cost import CostAssumptions
from fundus_r1.spec.models import FolderModel, HubModel, ServedModel, TinyModel
from fundus_r1.spec.training import Pixels
from fundus_r1.stages.cost.sizes import parameters_in, size_of, student_size


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-VL-32B-Instruct", 32),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3),
        ("qwen2.5vl:7b", 7),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", 3),
        ("InternVL2_5-1.5B", 1.5),
        ("qwen-vl-plus", None),
        ("qwen3-max", None),
        ("gpt-4b4c", None),
    ],
)
def test_a_name_tells_the_parameters_that_are_active(name: str, billions: float | None) -> None:
    assert parameters_in(name) == (None if billions is None else billions * 1e9)


def test_a_published_model_has_a_vision_tower_and_a_closed_one_no_known_size() -> None:
    assumed = CostAssumptions()
    size = size_of(HubModel(name="Qwen/Qwen2.5-VL-3B-Instruct"), assumed)
    assert size is not None
    assert (size.parameters, size.vision) == (3e9, assumed.vision_parameters)
    assert size_of(ServedModel(name="qwen3-vl-plus"), assumed) is None


def test_a_folder_is_as_big_as_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(2_000))
    size = size_of(FolderModel(path=str(tmp_path)), CostAssumptions())
    assert size is not None
    assert (size.parameters, size.vision) == (1_000, 0)


def test_a_tiny_model_grows_with_its_width() -> None:
    small, wide = (size_of(TinyModel(hidden=hidden), CostAssumptions()) for hidden in (128, 256))
    assert small is not None and wide is not None
    assert 2 < wide.parameters / small.parameters < 4


def test_the_student_sees_images_within_the_runs_limits_of_pixels() -> None:
    """By default a large photo fits into a prompt of GRPO, which it would not at its own size."""
    student = HubModel(name="Qwen/Qwen2.5-VL-3B-Instruct")
    size = student_size(student, Pixels(), CostAssumptions())
    assert size is not None
    assert (size.least_image_tokens, size.most_image_tokens) == (4, 752)
    assert size.parameters == 3e9
    assert student_size(ServedModel(name="qwen3-vl-plus"), Pixels(), CostAssumptions()) is None
