"""What learns is what the spec says, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fundus_r1.spec.training import Lora, SftScience

pytestmark = pytest.mark.engines

FP32 = SftScience(precision="fp32")


def _load(tiny: Path, **changes: Any) -> Any:
    from fundus_r1.training.student import load_student

    return load_student(tiny, FP32.model_copy(update=changes))


def _learning(model: Any) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("vision", [False, True])
@pytest.mark.parametrize("projector", [False, True])
def test_tower_and_projector_learn_each_by_its_own_field(tiny: Path, vision: bool, projector: bool) -> None:
    model = _load(tiny, train_vision=vision, train_projector=projector)
    learning = _learning(model)
    for name, weight in model.named_parameters():
        expected = projector if ".merger." in name else vision if ".visual." in name else True
        assert (name in learning) is expected, name
        assert str(weight.dtype) == "torch.float32"


def test_nothing_is_dropped_or_cached(tiny: Path) -> None:
    import torch

    model = _load(tiny)
    assert not model.config.get_text_config().use_cache
    dropped = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    dropped += [
        module.attention_dropout for module in model.modules() if hasattr(module, "attention_dropout")
    ]
    assert dropped and not any(dropped)


@pytest.mark.parametrize("projector", [False, True])
def test_adapters_learn_in_the_place_of_the_language_model(tiny: Path, projector: bool) -> None:
    model = _load(tiny, lora=Lora(rank=2, targets=("q_proj", "up_proj")), train_projector=projector)
    learning = _learning(model)
    adapters = {name for name in learning if "lora_" in name}
    # Two of them for each of two matrices in two layers.
    assert len(adapters) == 2 * 2 * 2 and all("language_model" in name for name in adapters)
    assert all(".merger." in name for name in learning - adapters)
    assert bool(learning - adapters) is projector


def test_adapters_are_drawn_by_the_seed_and_disturb_no_other_chance(tiny: Path) -> None:
    import torch

    def drawn(seed: int) -> list[torch.Tensor]:
        model = _load(tiny, lora=Lora(), seed=seed)
        return [weight for name, weight in model.named_parameters() if "lora_A" in name]

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again, other = drawn(0), drawn(0), drawn(1)
    assert torch.rand(1) == expected
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not any(a.equal(b) for a, b in zip(first, other, strict=True))


def test_merged_adapters_say_what_they_said_and_leave_a_plain_model(tiny: Path) -> None:
    import torch

    from fundus_r1.training.student import merged

    plain = _load(tiny)
    model = _load(tiny, lora=Lora(rank=2))
    ids = torch.arange(20)[None]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
        taught = model(input_ids=ids).logits
        whole = merged(model)
        torch.testing.assert_close(whole(input_ids=ids).logits, taught, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(plain(input_ids=ids).logits, taught, atol=1e-2)
    assert whole.state_dict().keys() == plain.state_dict().keys()
    assert merged(plain) is plain


def test_rotary_positions_are_those_of_the_model(tiny: Path) -> None:
    import torch

    from fundus_r1.training.student import rope_index

    kinds = torch.tensor([[0, 0, 0, *[1] * 12, 0, 0]])
    given = {"input_ids": kinds, "mm_token_type_ids": kinds, "image_grid_thw": torch.tensor([[1, 6, 8]])}
    found, expected = (index(**given)[0] for index in (rope_index(tiny), _load(tiny).model.get_rope_index))
    assert found.equal(expected)
    assert found[:, 0, -1].tolist() == [3 + 4 + 1] * 3
