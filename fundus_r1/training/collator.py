"""Encoded conversations -> inputs of the model, with the loss on the assistant's tokens alone.

What is learnt is the response, with its ``<think>`` and ``<answer>``, and the end-of-turn token; nothing
else (label -100). A micro batch comes in one of two forms:

* padded: a row for each conversation, as long as the longest;
* packed: one row in which they stand one after the other, without padding. Each begins its positions
  anew, and its rotary positions too (M-RoPE: time, height and width, Sec. 3.1 of Qwen2-VL). From the
  positions transformers sees where one ends, and lets no token look across, by a mask or by sequence
  lengths, as the attention in use needs it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fundus_r1.errors import ModelError
from fundus_r1.training.encoder import Encoder, Example

IGNORED = -100
"""The label of a token that bears no loss."""

_PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "labels")


class Collator:
    """Makes micro batches.

    Args:
        encoder: of the model's processor.
        rope_index: the model's own ``get_rope_index`` (`student.rope_index`).
    """

    def __init__(self, encoder: Encoder, rope_index: Callable[..., tuple[Tensor, Tensor]]):
        self.encoder = encoder
        self._rope_index = rope_index

    def encode(self, example: Example) -> dict[str, Tensor]:
        """One conversation. Per token, of shape (1, tokens): ids, mask, kinds and ``labels``;
        for the image: the patches and their grid, as the processor names them.
        """
        processor = self.encoder.processor
        inputs = dict(
            processor.image_processor(
                images=[example.image],
                do_resize=False,
                input_data_format="channels_last",
                return_tensors="pt",
            )
        )
        placeholder = processor.image_token_id
        count = self.encoder.image_tokens(*example.image.shape[:2])
        given = np.repeat(example.given, np.where(example.given == placeholder, count, 1))
        ids = torch.from_numpy(np.concatenate([given, example.learnt]).astype(np.int64))[None]
        labels = ids.clone()
        labels[:, : len(given)] = IGNORED
        return inputs | {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == placeholder).long(),
            "labels": labels,
        }

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A micro batch, padded on the right to its longest conversation."""
        encoded = [self.encode(example) for example in examples]
        longest = max(inputs["labels"].shape[1] for inputs in encoded)
        padding = {"input_ids": self.encoder.tokenizer.pad_token_id, "labels": IGNORED}
        batch = {}
        for name in encoded[0]:
            rows = [inputs[name] for inputs in encoded]
            if name in _PER_TOKEN:
                value = padding.get(name, 0)
                rows = [
                    torch.nn.functional.pad(row, (0, longest - row.shape[1]), value=value) for row in rows
                ]
            batch[name] = torch.cat(rows)
        return batch

    def packed(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A micro batch as one sequence, of shape (1, tokens of all).

        It has no ``attention_mask``, for with one transformers would not look for where conversations
        end, but ``position_ids`` of shape (4, 1, tokens): positions in the text, then time, height and
        width.
        """
        rows = []
        for example in examples:
            row = self.encode(example)
            ids = row["input_ids"]
            rotary, _ = self._rope_index(
                ids, mm_token_type_ids=row["mm_token_type_ids"], image_grid_thw=row["image_grid_thw"]
            )
            text = torch.arange(ids.shape[1])[None, None]
            row["position_ids"] = torch.cat([text, rotary])
            del row["attention_mask"]
            rows.append(row)
        along = dict.fromkeys(_PER_TOKEN, 1) | {"position_ids": 2}
        return {name: torch.cat([row[name] for row in rows], dim=along.get(name, 0)) for name in rows[0]}

    def learnt(self, batch: dict[str, Tensor]) -> list[str]:
        """The text that bears loss, of each conversation of a padded batch."""
        return [self._decode(row[row != IGNORED]) for row in batch["labels"]]

    def given(self, batch: dict[str, Tensor]) -> list[str]:
        """The text that bears none, with one placeholder for an image's tokens, likewise."""
        texts = []
        for ids, mask, labels in zip(
            batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
        ):
            kept = ids[(mask == 1) & (labels == IGNORED)]
            repeated = (kept[1:] == kept[:-1]) & (kept[1:] == self.encoder.processor.image_token_id)
            texts.append(self._decode(kept[torch.cat([torch.tensor([True]), ~repeated])]))
        return texts

    def _decode(self, ids: Tensor) -> str:
        text: str = self.encoder.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def verify(self, examples: Sequence[Example]) -> str:
        """Collates, decodes again and compares, as a proof before any training.

        Returns:
            The first conversation as the model sees it, what bears loss in ⟦double brackets⟧.

        Raises:
            ModelError: tokens or mask do not say what the conversations say.
        """
        batch = self(examples)
        shown = list(zip(self.given(batch), self.learnt(batch), strict=True))
        for example, found in zip(examples, shown, strict=True):
            meant = self.encoder.texts(example.conversation)
            # Qwen's tokenizer brings text into the composed form (NFC).
            for what, a, b in zip(("is given", "learns to write"), meant, found, strict=True):
                if unicodedata.normalize("NFC", a) != unicodedata.normalize("NFC", b):
                    raise ModelError(
                        f"The tokenizer changes what the model {what}: {b[-200:]!r}, not {a[-200:]!r}",
                        where=example.conversation.triplet_id,
                        hint="the folder's tokenizer, processor and chat template do not belong together",
                    )
        return f"{shown[0][0]}⟦{shown[0][1]}⟧"
