"""A repair of verl 0.9.1 that is needed on every device: batches in which all sequences have one length.

verl carries the M-RoPE position ids of a batch as a jagged tensor of (4, length) matrices. It is
packed by ``torch.nested.as_nested_tensor``, which looks for the dimension that differs. If none
differs, it takes the first one, the four, and verl, which goes on as if the length were ragged,
fails with ``split_with_sizes expects ...`` (or, with padding removed, computes with wrong
positions). It happens when all rollouts that one process trains on are equally long: seldom with
hundreds of them, nearly always with a few prompts of one wording whose rollouts are cut at their
length limit.

Lengthening prompts would avoid it by changing what is trained. This repacks the position ids where
a verl process receives its batch. verl loads this module in each of its processes
(``VERL_USE_EXTERNAL_MODULES``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import torch
from verl.utils import tensordict_utils, transferqueue_utils


def ragged_along_length(position_ids: torch.Tensor) -> torch.Tensor:
    """Position ids of a batch, (batch, 4, ragged length) whatever the lengths are.

    Args:
        position_ids: a jagged tensor whose rows are (4, length) matrices.
    """
    packed = position_ids.values()
    if packed.shape[0] != int(position_ids.offsets()[-1]):
        return position_ids
    rows = packed.reshape(position_ids.shape[0], -1, packed.shape[-1])
    return tensordict_utils.nested_tensor_from_tensor_list(list(rows))


def _repaired(receive: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def received(meta: Any) -> Any:
        batch = await receive(meta)
        position_ids = batch.get("position_ids", None)
        if isinstance(position_ids, torch.Tensor) and position_ids.is_nested and position_ids.dim() == 3:
            batch["position_ids"] = ragged_along_length(position_ids)
        return batch

    return received


transferqueue_utils._async_meta_to_realdata = _repaired(transferqueue_utils._async_meta_to_realdata)
