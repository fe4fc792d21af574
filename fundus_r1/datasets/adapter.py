"""What a dataset's module offers: how its layout is found, and what it says about each image.

An adapter reads names, tables and folders; it decodes no image. `collect` does that for all of them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from fundus_r1.datasets.views import Mask, Picture
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality, Quarantined


@dataclass(frozen=True)
class Candidate:
    """An image that will be a `Sample` if it can be decoded."""

    name: str
    """Path below the dataset's folder, with ``/``; unique in the dataset."""
    file: Picture
    labels: tuple[str, ...]
    """Canonical label keys; none only for one that `annotates`."""
    patient: str
    """``<dataset>:<id>``."""
    eye: Literal["left", "right", ""] = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    modality: Modality | None = None
    """None: that of the dataset."""
    masks: Mapping[str, Picture | Mask] | None = None
    """Finding -> mask; a finding of the set without one is absent. None: no pixel labels."""
    findings: tuple[str, ...] | None = None
    """What the pixel labels mark, where the adapter has had to read them for the labels' sake."""
    annotates: bool = False
    """The same picture may stand elsewhere in the dataset with a finer label; then this candidate
    gives that sample its masks and is no sample of its own. Without labels it is one nowhere else."""


@dataclass(frozen=True)
class Reading:
    """What an adapter found in one folder."""

    candidates: list[Candidate]
    quarantined: list[Quarantined]
    held_out: list[Picture] = field(default_factory=list)
    """Images of the official test part; a candidate with the same pixels must not be trained on."""


@dataclass(frozen=True)
class Adapter:
    """One public dataset."""

    name: str
    """As in `spec.science.Dataset`."""
    modality: Modality
    """Of its images, where a candidate says no other."""
    layout: str
    """The official layout in one line, for error messages."""
    find: Callable[[Path], list[Path]]
    """Data folder -> the dataset's folders at or below it."""
    read: Callable[[Path], Reading]
    """One of those folders -> what it holds.

    Raises:
        DataError: a file or folder without which the dataset cannot be understood is missing.
    """


def read_text(path: Path) -> str:
    """The content of a table or list, without a byte order mark.

    Raises:
        DataError: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"A table cannot be read: {error}", where=str(path), hint="unpack the dataset again"
        ) from error


def read_table(path: Path, required: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers; header and values without surrounding space.

    Header names are lower-cased, columns without a name and rows without a value are left out.

    Raises:
        DataError: the file cannot be read, or lacks a required column (given in lower case).
    """
    lines = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        header = [name.strip().casefold() for name in next(lines, [])]
        lacking = [name for name in required if name not in header]
        if lacking:
            raise DataError(
                f"A table lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}",
                where=f"{path}, header: {', '.join(name for name in header if name) or '(empty)'}",
                hint="use the table that the dataset's authors published",
            )
        rows = []
        for values in lines:
            row = {name: value.strip() for name, value in zip(header, values, strict=False) if name}
            if any(row.values()):
                rows.append((lines.line_num, {name: row.get(name, "") for name in header if name}))
    except csv.Error as error:
        raise DataError(f"Line {lines.line_num} is no CSV: {error}", where=str(path)) from error
    return rows


def distinct(
    rows: list[tuple[int, dict[str, str]]], key: str, dataset: str, folder: str
) -> tuple[list[tuple[int, dict[str, str]]], list[Quarantined]]:
    """Rows of which each names another image; of equal ones the first is kept, of others none.

    Args:
        rows: as `read_table` gives them.
        key: the column that names the image, with or without a file extension.
        dataset: for the quarantine.
        folder: of the images, for the quarantine.
    """
    groups: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows:
        groups.setdefault(stem(row[key]), []).append((line, row))
    kept, quarantined = [], []
    for group in groups.values():
        agree = all({**row, key: ""} == {**group[0][1], key: ""} for _, row in group)
        if agree:
            kept.append(group[0])
        for line, row in group[1:] if agree else group:
            others = ", ".join(str(other) for other, _ in group if other != line)
            detail = f"line {line} {'repeats' if agree else 'contradicts'} line {others} of the table"
            path = f"{folder}/{row[key]}"
            quarantined.append(Quarantined(dataset=dataset, path=path, reason="duplicate", detail=detail))
    return kept, quarantined


def stem(name: str) -> str:
    """A file's name without folders and extension, in lower case, by which tables are matched."""
    return PurePosixPath(name.strip().replace("\\", "/")).stem.casefold()


def whole_number(text: str, allowed: range) -> int | None:
    """A value such as ``3`` or ``3.0`` if it is in the allowed range, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() and int(value) in allowed else None
