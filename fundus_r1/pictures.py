"""Where the bytes of a picture lie: in a file of its own (a `Path`), or inside a larger one (a `Span`).

A volume holds a picture in each of its planes, and GMAI-MMBench keeps its pictures in the cells of a
table. Nothing is unpacked for that: a span is read where it lies.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Span:
    """Bytes inside a file."""

    file: Path
    offset: int
    """Of the first byte."""
    length: int
    """In bytes, as they stand in the file."""
    base64: bool = False
    """Whether the bytes are the base64 text of the picture's file."""

    def read(self) -> bytes:
        """The picture's bytes.

        Raises:
            OSError: the file cannot be read.
            EOFError: it ends earlier.
            ValueError: they are no base64 text.
        """
        with self.file.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.length)
        if len(data) < self.length:
            raise EOFError(f"{self.file.name} ends before byte {self.offset + self.length}")
        return base64.b64decode(data, validate=True) if self.base64 else data

    @property
    def name(self) -> str:
        """As `Path.name`, for messages."""
        return f"{self.file.name} from byte {self.offset}"

    def __str__(self) -> str:
        return f"{self.file} from byte {self.offset}"


Source = Path | Span
