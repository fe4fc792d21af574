"""What the synthetic sets share on disk: images to be asked about, files, and the refusal to overwrite.

The sets are written in their official layouts with the traps of the real ones, so that reading the
drawings is a test of reading the real data. Their numbers and patients begin above the real ones, so
a collection may stand beside real data.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fundus_r1.datasets.synth.paint import Drawing
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality


@dataclass(frozen=True)
class Shown:
    """An image of a held-out patient, about which questions can be asked."""

    modality: Modality
    name: str
    """File name, as the dataset gives names."""
    data: bytes
    labels: tuple[str, ...]
    """Canonical; ``normal`` or ``no_dr`` for a healthy eye."""
    drawing: Drawing
    left_eye: bool | None
    """None where the image does not tell."""


def demand_empty(folder: Path) -> None:
    """Makes the folder; one that holds something is refused, because nothing may be overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            "The folder for the synthetic collection is not empty",
            where=str(folder),
            hint="name a new folder",
        )
    folder.mkdir(parents=True, exist_ok=True)


def jpeg(image: Image.Image) -> bytes:
    """The file of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> None:
    """Writes a file and makes the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Writes a table, header first."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write(path, buffer.getvalue().encode())
