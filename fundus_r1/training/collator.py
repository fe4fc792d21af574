"""Conversations -> inputs of the model, with the loss on the assistant's tokens alone.

The text is what the model's own chat template makes of the conversation, the image is what its
own processor makes of the file. What is learnt is the response, with its ``<think>`` and
``<answer>``, and the end-of-turn token; nothing else (label -100). What the model is given, and
what it learns to write, are tokenised apart: so the border is exact, and it falls where it falls
when the model generates.

A conversation that does not fit is an error that names it. Nothing is cut: a response without
its end would teach the model not to end.
"""

from __future__ import annotations

import contextlib
import io
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from fundus_r1.errors import DataError, ModelError
from fundus_r1.rows import Conversation

IGNORED = -100
"""The label of a token that bears no loss."""

_PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


class Example(NamedTuple):
    """A conversation and the bytes of its image (PNG or JPEG)."""

    conversation: Conversation
    image: bytes


class Collator:
    """Makes batches.

    Args:
        processor: the model's own (``AutoProcessor``), with tokenizer and chat template.
        max_length: tokens in a conversation at most, image tokens included.
    """

    def __init__(self, processor: Any, max_length: int):
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.max_length = max_length
        self._special = [
            token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special
        ]

    def texts(self, conversation: Conversation) -> tuple[str, str]:
        """What the model is given, and what it is to write after that.

        Raises:
            DataError: a text holds a special token, which it would smuggle into the chat.
            ModelError: the chat template does not render the response as it is.
        """
        for part in ("prompt", "response"):
            for token in self._special:
                if token in getattr(conversation, part):
                    raise DataError(
                        f"The {part} of a conversation holds the special token {token}",
                        where=conversation.triplet_id,
                        hint="take it out of the dataset's text",
                    )
        user = {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": conversation.prompt}],
        }
        reply = {"role": "assistant", "content": [{"type": "text", "text": conversation.response}]}
        given = self.processor.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
        whole = self.processor.apply_chat_template([user, reply], tokenize=False)
        learnt = f"{conversation.response}{self.tokenizer.eos_token}"
        if not whole.startswith(given + learnt):
            raise ModelError(
                "The model's chat template does not give back the response followed by the end of turn "
                f"{self.tokenizer.eos_token}",
                where=f"{conversation.triplet_id}: it renders {whole[-200:]!r}",
                hint="train a model whose template renders the assistant's text unchanged (Qwen2.5-VL does)",
            )
        return given, learnt

    def length(self, example: Example) -> int:
        """Tokens of a conversation, from its texts and the size of its image alone."""
        given, learnt = self.texts(example.conversation)
        with _image(example) as image:
            size = (image.height, image.width)
        images = self.processor._get_num_multimodal_tokens(image_sizes=[size])["num_image_tokens"]
        texts = self.tokenizer([given, learnt], add_special_tokens=False)["input_ids"]
        # The placeholder of the image is one token of the text.
        return sum(len(ids) for ids in texts) + sum(images) - len(images)

    def check_length(self, example: Example) -> None:
        """Raises:
        DataError: the conversation does not fit into `max_length`.
        """
        self._demand_fit(example.conversation, self.length(example))

    def _demand_fit(self, conversation: Conversation, length: int) -> None:
        if length > self.max_length:
            raise DataError(
                f"A conversation has {length} tokens; with {self.max_length} its response would be cut",
                where=conversation.triplet_id,
                hint="raise science.sft.max_length, or use smaller images",
            )

    def encode(self, example: Example) -> dict[str, Tensor]:
        """One conversation. Per token, of shape (1, tokens): ids, mask, kinds and ``labels``;
        for the image: the patches and their grid, as the processor names them.

        Raises:
            DataError: the image cannot be read, or the conversation does not fit.
        """
        given, learnt = self.texts(example.conversation)
        with _image(example) as image:
            pixels = image.convert("RGB")
        inputs = dict(self.processor(text=[given], images=[pixels], return_tensors="pt"))
        reply = self.tokenizer(learnt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        continued = {"input_ids": reply, "attention_mask": torch.ones_like(reply)}
        for name in _PER_TOKEN:
            if name in inputs:
                text = continued.get(name, torch.zeros_like(reply))
                inputs[name] = torch.cat([inputs[name], text.to(inputs[name].dtype)], dim=1)
        inputs["labels"] = torch.cat([labels, reply], dim=1)
        self._demand_fit(example.conversation, inputs["labels"].shape[1])
        return inputs

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A batch, padded on the right to its longest conversation."""
        encoded = [self.encode(example) for example in examples]
        longest = max(inputs["labels"].shape[1] for inputs in encoded)
        padding = {"input_ids": self.tokenizer.pad_token_id, "labels": IGNORED}
        batch = {}
        for name in encoded[0]:
            rows = [inputs[name] for inputs in encoded]
            if name in (*_PER_TOKEN, "labels"):
                value = padding.get(name, 0)
                rows = [
                    torch.nn.functional.pad(row, (0, longest - row.shape[1]), value=value) for row in rows
                ]
            batch[name] = torch.cat(rows)
        return batch

    def learnt(self, batch: dict[str, Tensor]) -> list[str]:
        """The text that bears loss, of each conversation of a batch."""
        return [self._decode(row[row != IGNORED]) for row in batch["labels"]]

    def given(self, batch: dict[str, Tensor]) -> list[str]:
        """The text that bears none, with one placeholder for an image's tokens."""
        texts = []
        for ids, mask, labels in zip(
            batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
        ):
            kept = ids[(mask == 1) & (labels == IGNORED)]
            repeated = (kept[1:] == kept[:-1]) & (kept[1:] == self.processor.image_token_id)
            texts.append(self._decode(kept[torch.cat([torch.tensor([True]), ~repeated])]))
        return texts

    def _decode(self, ids: Tensor) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def verify(self, examples: Sequence[Example]) -> str:
        """Encodes, decodes again and compares, as a proof before any training.

        Returns:
            The first conversation as the model sees it, what bears loss in ⟦double brackets⟧.

        Raises:
            ModelError: tokens or mask do not say what the conversations say.
        """
        batch = self(examples)
        shown = list(zip(self.given(batch), self.learnt(batch), strict=True))
        for example, found in zip(examples, shown, strict=True):
            meant = self.texts(example.conversation)
            # Qwen's tokenizer brings text into the composed form (NFC).
            for what, a, b in zip(("is given", "learns to write"), meant, found, strict=True):
                if unicodedata.normalize("NFC", a) != unicodedata.normalize("NFC", b):
                    raise ModelError(
                        f"The tokenizer changes what the model {what}: {b[-200:]!r}, not {a[-200:]!r}",
                        where=example.conversation.triplet_id,
                        hint="the folder's tokenizer, processor and chat template do not belong together",
                    )
        return f"{shown[0][0]}⟦{shown[0][1]}⟧"


@contextlib.contextmanager
def _image(example: Example) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(example.image)) as image:
            yield image
    except OSError as error:
        raise DataError(
            f"The image of a conversation cannot be read: {error}",
            where=f"{example.conversation.triplet_id}, image of {example.conversation.sample_id}",
            hint="delete the record of the stage index in the store and run again",
        ) from error
