"""MetaImage volumes (``.mhd`` with ``.raw``), as RETOUCH publishes its OCT scans: which bytes are a plane.

The header is lines ``Key = value``. ``DimSize`` names the axis first whose values are neighbours in the
file, and the last axis counts the planes. Of the two axes in a plane, depth is the one that is sampled
more finely, which ``ElementSpacing`` tells; where it does not, the first one is, as readers of RETOUCH
take it. B-scans are shown with depth downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fundus_r1.datasets.views import Plane
from fundus_r1.errors import DataError
from fundus_r1.pictures import Span

_BITS: dict[str, Literal[8, 16]] = {"MET_UCHAR": 8, "MET_USHORT": 16}
_HEADER = 1 << 16


@dataclass(frozen=True)
class Volume:
    """A volume's header."""

    raw: Path
    planes: tuple[Plane, ...]
    size: tuple[int, int, int]
    """(width, height, number of planes) in pixels."""

    def values(self, number: int) -> np.ndarray:
        """Grey values of a plane, shape (height, width).

        Raises:
            DataError: they cannot be read.
        """
        plane = self.planes[number]
        try:
            with self.raw.open("rb") as file:
                file.seek(plane.span.offset)
                return plane.values(file.read(plane.span.length))
        except (OSError, ValueError) as error:
            raise DataError(
                f"Plane {number} of a volume cannot be read: {error}",
                where=str(self.raw),
                hint="unpack the dataset again",
            ) from error


def read_volume(path: Path) -> Volume:
    """The volume that a header describes.

    Raises:
        DataError: the header is no MetaImage of three dimensions and 8 or 16 bits, is compressed, or
            its values are not where it says.
    """
    fields = _fields(path)
    try:
        sizes = [int(size) for size in fields["dimsize"].split()]
        bits = _BITS[fields["elementtype"].upper()]
        raw = path.parent / fields["elementdatafile"]
        skipped = int(fields.get("headersize", "0"))
    except (KeyError, ValueError) as error:
        raise _refused(path, f"its header has no usable {error}") from error
    if len(sizes) != 3 or min(sizes) < 1:
        raise _refused(path, f"it has the size {fields['dimsize']}, not three dimensions")
    if fields.get("compresseddata", "False").casefold() == "true":
        raise _refused(path, "it is compressed")
    length = sizes[0] * sizes[1] * bits // 8
    there = raw.stat().st_size if raw.is_file() else 0
    if there < length * sizes[2] + max(skipped, 0):
        raise _refused(path, f"{raw.name} has {there} bytes of {length * sizes[2]}")
    # -1 says that the values are the file's last bytes.
    start = there - length * sizes[2] if skipped < 0 else skipped
    by_column = _first_is_depth(fields.get("elementspacing", ""))
    width, height = (sizes[1], sizes[0]) if by_column else (sizes[0], sizes[1])
    msb = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False"))
    planes = tuple(
        Plane(
            Span(raw, start + number * length, length),
            width,
            height,
            bits,
            big_endian=msb.casefold() == "true",
            by_column=by_column,
        )
        for number in range(sizes[2])
    )
    return Volume(raw, planes, (width, height, sizes[2]))


def _fields(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="latin-1") as file:
            lines = file.read(_HEADER).splitlines()
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    pairs = (line.partition("=") for line in lines)
    return {key.strip().casefold(): value.strip() for key, found, value in pairs if found}


def _first_is_depth(spacing: str) -> bool:
    try:
        first, second = (float(step) for step in spacing.split()[:2])
    except ValueError:
        return True
    return first <= second


def _refused(path: Path, why: str) -> DataError:
    return DataError(
        f"A volume cannot be read: {why}", where=str(path), hint="unpack the dataset again, as published"
    )
