"""Causal attention that needs no mask, for packed and for padded micro batches.

In a packed micro batch a token looks back within its conversation alone. transformers would have torch
compute all pairs of the sequence and mask most of them; here each conversation is computed by itself, so
the work grows with the squares of the conversations, not with the square of them all. It is what
FlashAttention does with sequence lengths, for machines without it.

Padding on the right needs no mask either: causal attention never looks at what follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

CONVERSATIONS = "conversations"
"""Its name as ``attn_implementation``."""


def register() -> None:
    """Makes it known to transformers."""
    AttentionInterface.register(CONVERSATIONS, _attend)
    AttentionMaskInterface.register(CONVERSATIONS, _mask)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it; queries and the like are (batch, heads, tokens, dimensions).

    Args:
        module: the attention layer.
        query: of each token.
        key: of each token.
        value: of each token.
        attention_mask: None wherever `_mask` can do without.
        position_ids: (1, tokens) of a packed micro batch, each conversation from 0; None of a padded one.
        given: for torch's attention.
    """
    if attention_mask is not None or position_ids is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    begins = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    lengths = [end - begin for begin, end in zip(begins, [*begins[1:], query.shape[2]], strict=True)]
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    attended = [sdpa_attention_forward(module, *part, None, **given)[0] for part in parts]
    return torch.cat(attended, dim=1), None


def _mask(*args: Any, attention_mask: Tensor | None = None, **given: Any) -> Tensor | None:
    if attention_mask is None or _padded_on_the_right(attention_mask):
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **given)


def _padded_on_the_right(attention_mask: Tensor) -> bool:
    return bool((attention_mask[:, 1:] <= attention_mask[:, :-1]).all())
