"""What SFT is taught, as files of one folder: encoded once, read by every process in every epoch.

A conversation is a line of ``conversations.jsonl`` with its token ids in ``tokens.bin``. An image is one
file of raw pixels at its final size, however many questions are asked about it: three bytes a pixel, so
at most three times `max_pixels`. Whoever reads it decodes and scales nothing, and holds none in memory.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from fundus_r1.errors import DataError
from fundus_r1.fingerprint import sha256
from fundus_r1.rows import Conversation, Split
from fundus_r1.training.encoder import Encoder, Example

_CONVERSATIONS, _TOKENS, _IMAGES = "conversations.jsonl", "tokens.bin", "images"
# Encoded images that are in memory at once, for each core.
_AT_ONCE = 8


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    given: int
    learnt: int
    length: int
    conversation: Conversation


@dataclass(frozen=True)
class Stored:
    """An encoded conversation, whose image lies in a file."""

    conversation: Conversation
    given: np.ndarray
    learnt: np.ndarray
    length: int
    """Tokens, those of the image included."""
    image: Path

    def example(self) -> Example:
        """With its image."""
        return Example(self.conversation, self.given, self.learnt, np.load(self.image))


def unpack(
    rows: Iterable[tuple[Conversation, bytes]], folder: Path, encoder: Encoder, max_length: int
) -> None:
    """Writes conversations and their images (PNG or JPEG) as the processes read them.

    Images are decoded by all cores at once; a few are in memory, not all.

    Args:
        rows: any number, read one after the other.
        folder: to write to.
        encoder: of the student.
        max_length: tokens of a conversation at most, image tokens included.

    Raises:
        DataError: an image cannot be read, or a conversation does not fit. Nothing is cut: a response
            without its end would teach the model not to end.
        ModelError: the model's chat template cannot be used.
    """
    images = folder / _IMAGES
    images.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    sizes: dict[str, int] = {}
    with (
        (folder / _CONVERSATIONS).open("w", encoding="utf-8") as lines,
        (folder / _TOKENS).open("wb") as tokens,
        _one_core_each(),
        ThreadPoolExecutor(cores) as pool,
    ):

        def write(name: str, image: bytes, row: Conversation) -> int:
            pixels = encoder.scaled(image, f"{row.triplet_id}, image of {row.sample_id}")
            np.save(images / name, pixels)
            return encoder.image_tokens(*pixels.shape[:2])

        for chunk in _chunks(rows, _AT_ONCE * cores):
            names = [f"{sha256(image)}.npy" for _, image in chunk]
            new = {name: pair for name, pair in zip(names, chunk, strict=True) if name not in sizes}
            found = pool.map(lambda item: write(item[0], item[1][1], item[1][0]), new.items())
            sizes |= dict(zip(new, found, strict=True))
            for name, (conversation, _) in zip(names, chunk, strict=True):
                given, learnt = encoder.tokens(conversation)
                # The image's placeholder is one token of the text.
                length = len(given) + len(learnt) + sizes[name] - 1
                _demand_fit(conversation, length, max_length)
                line = _Line(
                    image=name,
                    given=len(given),
                    learnt=len(learnt),
                    length=length,
                    conversation=conversation,
                )
                lines.write(f"{line.model_dump_json()}\n")
                tokens.write(given.tobytes() + learnt.tobytes())


@contextmanager
def _one_core_each() -> Iterator[None]:
    """Keeps torch from scaling each of many images on all cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _chunks(
    rows: Iterable[tuple[Conversation, bytes]], size: int
) -> Iterator[list[tuple[Conversation, bytes]]]:
    remaining = iter(rows)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def _demand_fit(conversation: Conversation, length: int, max_length: int) -> None:
    if length > max_length:
        raise DataError(
            f"A conversation has {length} tokens; with {max_length} its response would be cut",
            where=conversation.triplet_id,
            hint="raise science.sft.max_length, or lower science.pixels.max_pixels",
        )


def unpacked(folder: Path, split: Split) -> list[Stored]:
    """The conversations of a split, in the order in which they were written."""
    path = folder / _TOKENS
    # An empty file cannot be mapped.
    tokens = np.memmap(path, np.int32, "r") if path.stat().st_size else np.empty(0, np.int32)
    found = []
    begin = 0
    with (folder / _CONVERSATIONS).open(encoding="utf-8") as lines:
        for text in lines:
            line = _Line.model_validate_json(text)
            middle = begin + line.given
            end = middle + line.learnt
            if line.conversation.split is split:
                image = folder / _IMAGES / line.image
                given, learnt = tokens[begin:middle], tokens[middle:end]
                found.append(Stored(line.conversation, given, learnt, line.length, image))
            begin = end
    return found
