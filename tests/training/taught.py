"""Conversations and images to be taught, for tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from fundus_r1.rows import Conversation, Split


def conversation(response: str = "R", *, prompt: str = "What is it?", name: str = "t1") -> Conversation:
    return Conversation(triplet_id=name, sample_id="s1", prompt=prompt, response=response, split=Split.TRAIN)


def picture(size: tuple[int, int] = (224, 224), *, kind: str = "PNG", seed: int = 0) -> bytes:
    """An image file with something to see; width, height."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()
