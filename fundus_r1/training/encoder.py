"""Conversations -> what the student reads: token ids, and images at their final size (paper, Sec. 3.4).

The text is what the model's own chat template makes of the conversation. What the model is given, and
what it learns to write, are tokenised apart: so the border is exact, and it falls where it falls when the
model generates.

An image is brought to its final size by the model's own processor, within the pixel limits of the
model's folder (`models.weights.with_pixels`). What is kept are the very bytes that the processor goes on
with, so nothing is lost by scaling once and for all.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fundus_r1.errors import DataError, ModelError
from fundus_r1.rows import Conversation


class Example(NamedTuple):
    """A conversation as the collator takes it."""

    conversation: Conversation
    given: np.ndarray
    """int32: what the model is given, with one placeholder for the image."""
    learnt: np.ndarray
    """int32: the response, and the end of the turn."""
    image: np.ndarray
    """uint8 (height, width, 3), at its final size."""


class Encoder:
    """Encodes conversations for one model.

    Args:
        processor: the model's own (``AutoProcessor``), with tokenizer and chat template.
    """

    def __init__(self, processor: Any):
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self._special = [
            token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special
        ]

    @classmethod
    def of(cls, folder: Path) -> Encoder:
        """For the model of a folder."""
        from transformers import AutoProcessor

        return cls(AutoProcessor.from_pretrained(folder))

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

    def tokens(self, conversation: Conversation) -> tuple[np.ndarray, np.ndarray]:
        """Ids (int32) of both texts; the image is one placeholder."""
        ids = self.tokenizer(list(self.texts(conversation)), add_special_tokens=False)["input_ids"]
        given, learnt = (np.asarray(part, np.int32) for part in ids)
        return given, learnt

    def scaled(self, image: bytes, where: str) -> np.ndarray:
        """An image file (PNG or JPEG) -> uint8 (height, width, 3), as the model's processor scales it.

        Args:
            image: the file's bytes.
            where: whose, for the message.

        Raises:
            DataError: it cannot be read, or is too narrow for the processor.
        """
        import torch
        from torchvision.transforms.v2 import functional
        from transformers.image_utils import SizeDict
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        by = self.processor.image_processor
        try:
            with Image.open(io.BytesIO(image)) as file:
                pixels = functional.pil_to_tensor(file.convert("RGB"))
            height, width = smart_resize(
                *pixels.shape[-2:],
                factor=by.patch_size * by.merge_size,
                min_pixels=by.size["shortest_edge"],
                max_pixels=by.size["longest_edge"],
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"The image of a conversation cannot be read: {error}",
                where=where,
                hint="delete the record of the stage index in the store and run again",
            ) from error
        with torch.inference_mode():
            # A batch of one, as the processor makes it: torchvision rounds it as it does there.
            scaled = by.resize(pixels[None], SizeDict(height=height, width=width), resample=by.resample)[0]
        return scaled.permute(1, 2, 0).contiguous().numpy()

    def example(self, conversation: Conversation, image: bytes) -> Example:
        """A conversation with its image file.

        Raises:
            DataError: as `texts` and `scaled` say.
            ModelError: as `texts` says.
        """
        where = f"{conversation.triplet_id}, image of {conversation.sample_id}"
        return Example(conversation, *self.tokens(conversation), self.scaled(image, where))

    def image_tokens(self, height: int, width: int) -> int:
        """Tokens of an image of a final size."""
        side: int = self.processor.image_processor.patch_size * self.processor.image_processor.merge_size
        return height * width // side**2
