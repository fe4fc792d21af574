"""Pictures that are a part of what a file holds, and masks of which only some values count.

An image of a dataset is mostly a file. OIMHS puts each mask beside its image in one picture (`Half`),
and RETOUCH publishes volumes, of which each plane is a B-scan (`Plane`). How they are decoded is said
here, that they are decoded safely in `images`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from fundus_r1.pictures import Source, Span


@dataclass(frozen=True)
class Half:
    """The left or right half of a file's picture."""

    file: Path
    side: Literal["left", "right"]

    @property
    def name(self) -> str:
        return f"{self.file.name} ({self.side} half)"

    def of(self, image: Image.Image) -> Image.Image:
        """That half; of an odd width, the right one is wider."""
        middle = image.width // 2
        box = (0, 0, middle, image.height) if self.side == "left" else (middle, 0, *image.size)
        return image.crop(box)


@dataclass(frozen=True)
class Plane:
    """One plane of an uncompressed volume of unsigned grey values."""

    span: Span
    width: int
    height: int
    bits: Literal[8, 16]
    big_endian: bool = False
    """Byte order of 16-bit values."""
    by_column: bool = False
    """Whether neighbours in the file are neighbours in a column instead of a row."""

    @property
    def name(self) -> str:
        return self.span.name

    def values(self, data: bytes) -> np.ndarray:
        """Grey values of the plane's bytes, shape (height, width).

        Raises:
            ValueError: there are more or fewer bytes than pixels.
        """
        kind = np.dtype(np.uint8) if self.bits == 8 else np.dtype(">u2" if self.big_endian else "<u2")
        values = np.frombuffer(data, kind)
        if self.by_column:
            return values.reshape(self.width, self.height).T
        return values.reshape(self.height, self.width)


Picture = Source | Half | Plane
"""What can be examined."""

Level = int | tuple[int, int, int]
"""A grey value, or a colour."""


@dataclass(frozen=True)
class Mask:
    """A mask of which only some values mark something."""

    picture: Picture
    lowest: Level
    """A pixel is marked if it lies between these two, in each channel where they are colours."""
    highest: Level = 255

    @property
    def name(self) -> str:
        return self.picture.name

    def marks(self, image: Image.Image) -> bool:
        """Whether any pixel is marked."""
        values = np.asarray(image if isinstance(self.lowest, int) else image.convert("RGB"))
        marked = (values >= self.lowest) & (values <= self.highest)
        return bool((marked.all(axis=2) if marked.ndim == 3 else marked).any())


def source_of(picture: Picture) -> Source:
    """Where its bytes lie."""
    if isinstance(picture, Half):
        return picture.file
    return picture.span if isinstance(picture, Plane) else picture
