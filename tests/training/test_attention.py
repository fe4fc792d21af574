"""Attention by conversation is masked attention, without the mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fundus_r1.spec.training import SftScience

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def both(tiny: Path) -> tuple[Any, Any]:
    """The student as it is trained, and with transformers' own attention."""
    from fundus_r1.training.student import load_student

    ours, theirs = (load_student(tiny, SftScience(precision="fp32")) for _ in range(2))
    theirs.set_attn_implementation("sdpa")
    return ours, theirs


def _logits(model: Any, **given: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(**given).logits


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_on_either_side_changes_no_token(both: tuple[Any, Any], side: str) -> None:
    import torch

    ids = torch.arange(3 * 40).reshape(3, 40)
    mask = torch.ones_like(ids)
    mask[1, 25:], mask[2, 7:] = 0, 0
    if side == "left":
        mask = mask.flip(1)
    ours, theirs = (_logits(model, input_ids=ids, attention_mask=mask) for model in both)
    real = mask.bool()
    torch.testing.assert_close(ours[real], theirs[real], rtol=1e-4, atol=1e-5)


def test_a_mask_is_made_only_where_padding_stands_in_front(
    both: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from fundus_r1.training import attention

    made = []
    monkeypatch.setattr(attention, "sdpa_mask", lambda *_, **given: made.append(given["attention_mask"]))
    ids, mask = torch.arange(40).reshape(2, 20), torch.ones(2, 20, dtype=torch.long)
    mask[1, 12:] = 0
    positions = torch.cat([torch.arange(8), torch.arange(12)]).expand(4, 1, 20)
    _logits(both[0], input_ids=ids, attention_mask=mask)
    _logits(both[0], input_ids=ids[:1], position_ids=positions)
    _logits(both[0], input_ids=ids)
    assert made == []
    _logits(both[0], input_ids=ids, attention_mask=mask.flip(1))
    assert len(made) == 1


def test_conversations_in_one_sequence_are_blind_to_each_other(both: tuple[Any, Any]) -> None:
    import torch

    lengths = (8, 1, 12, 5)
    positions = torch.cat([torch.arange(length) for length in lengths]).expand(4, 1, sum(lengths))
    ids = torch.arange(sum(lengths))[None]
    ours, theirs = (_logits(model, input_ids=ids, position_ids=positions) for model in both)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    alone = [_logits(both[0], input_ids=part) for part in ids.split(lengths, dim=1)]
    torch.testing.assert_close(ours, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)
