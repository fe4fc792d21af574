"""What the layouts have in common: a table beside images, or images that tell their label by themselves.

A dataset's module says what one image means, as a `Candidate`, or raises `Unfit`. That each file and each
row is accounted for is seen to here: what names no file, has no row or cannot be understood is
quarantined with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fundus_r1.datasets.adapter import Candidate, Reading, distinct, stem, whole_number
from fundus_r1.datasets.folders import below, child, entries, plain_name, walk
from fundus_r1.errors import DataError
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Quarantined

DR_GRADES = ("no_dr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr")
"""Canonical labels of the international scale, by grade."""

_RIGHT, _LEFT = ("od", "r", "right"), ("os", "l", "left")


class Unfit(Exception):  # noqa: N818 - it is a verdict on data, caught where it is quarantined
    """An image that cannot be a sample, and why. Always caught by `from_files` or `from_table`."""

    def __init__(self, reason: Literal["unlabelled", "bad_label", "bad_row", "duplicate"], detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Table:
    """Rows about images, as `adapter.read_table` gives them."""

    name: str
    """For messages."""
    rows: list[tuple[int, dict[str, str]]]
    """(line, column -> value) pairs."""
    key: str
    """The column that names the image, with or without a file extension."""


def from_files(
    dataset: str, folder: Path, files: Iterable[Path], candidate: Callable[[Path], Candidate]
) -> Reading:
    """Asks `candidate` about each file.

    Args:
        dataset: for the quarantine.
        folder: of the dataset, which paths are given from.
        files: its images.
        candidate: what an image is; raises `Unfit`.
    """
    reading = Reading([], [])
    for file in files:
        try:
            reading.candidates.append(candidate(file))
        except Unfit as unfit:
            reading.quarantined.append(
                Quarantined(
                    dataset=dataset, path=below(folder, file), reason=unfit.reason, detail=unfit.detail
                )
            )
    return reading


def from_table(
    dataset: str,
    folder: Path,
    table: Table,
    images: Path,
    files: Mapping[str, Path],
    candidate: Callable[[Path, dict[str, str]], Candidate],
) -> Reading:
    """Asks `candidate` about each row that names a file, and accounts for all other rows and files.

    Args:
        dataset: for the quarantine.
        folder: of the dataset, which paths are given from.
        table: the rows.
        images: where a row's missing file would be.
        files: stem -> image; see `files_by_stem`.
        candidate: what an image with its row is; raises `Unfit` with a detail that goes on after
            "line 7 of the table".
    """
    at = below(folder, images)
    rows, quarantined = distinct(table.rows, table.key, dataset, at)
    reading = Reading([], quarantined)
    named = {stem(row[table.key]) for _, row in table.rows}
    for line, row in rows:
        file = files.get(stem(row[table.key]))
        place = f"line {line} of the table"
        if file is None:
            path, detail = f"{at}/{row[table.key]}", f"{place} names no file there is"
            quarantined.append(Quarantined(dataset=dataset, path=path, reason="missing", detail=detail))
            continue
        try:
            reading.candidates.append(candidate(file, row))
        except Unfit as unfit:
            detail = f"{place} {unfit.detail}"
            path = below(folder, file)
            quarantined.append(Quarantined(dataset=dataset, path=path, reason=unfit.reason, detail=detail))
    quarantined.extend(
        Quarantined(
            dataset=dataset, path=below(folder, file), reason="unlabelled", detail=f"no row of {table.name}"
        )
        for name, file in files.items()
        if name not in named
    )
    return reading


def joined(readings: Iterable[Reading]) -> Reading:
    """The readings of a dataset's parts as one."""
    whole = Reading([], [])
    for reading in readings:
        whole.candidates.extend(reading.candidates)
        whole.quarantined.extend(reading.quarantined)
        whole.held_out.extend(reading.held_out)
    return whole


def files_of(folder: Path | None) -> list[Path]:
    """Files of a folder itself; none if there is no folder."""
    return [folder / name for name in entries(folder)[1]] if folder is not None else []


def files_below(folder: Path | None) -> list[Path]:
    """Files of a folder and of those below it; none if there is no folder."""
    return [at / name for at, _, names in walk(folder) for name in names] if folder is not None else []


def files_by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """The files by the name under which tables know them (`adapter.stem`)."""
    return {stem(file.name): file for file in files}


def demand(dataset: str, folder: Path, *names: str) -> Path:
    """The folder below `folder` to which the plain names lead, one level each.

    Raises:
        DataError: there is none.
    """
    for name in names:
        inner = child(folder, name)
        if inner is None:
            raise DataError(
                f"{dataset} lacks the folder {name}",
                where=str(folder),
                hint="unpack the whole archive of the dataset",
            )
        folder = inner
    return folder


def masks_by_stem(
    dataset: str, folder: Path, lesions: Mapping[str, tuple[Path, str]], images: Iterable[str]
) -> tuple[dict[str, dict[str, Path]], list[Quarantined]]:
    """Masks that lie in a folder a lesion, under the names of the images.

    Args:
        dataset: for the quarantine.
        folder: of the dataset, which paths are given from.
        lesions: finding -> (folder of its masks, what their names have after the image's).
        images: stems of the images.

    Returns:
        Stem -> finding -> mask, for all images; and the masks that belong to no image.
    """
    found: dict[str, dict[str, Path]] = {name: {} for name in images}
    quarantined = []
    for finding, (place, ending) in lesions.items():
        for file in files_of(place):
            image = stem(file.name).removesuffix(ending.casefold())
            if image in found:
                found[image][finding] = file
            else:
                quarantined.append(
                    Quarantined(
                        dataset=dataset,
                        path=below(folder, file),
                        reason="missing",
                        detail="the mask belongs to no photo of the training set",
                    )
                )
    return found, quarantined


def codes(task: str) -> dict[str, str]:
    """Plain name of a dataset's own code -> canonical label, of a task of ``ontology/tasks.yaml``."""
    return {plain_name(code): label for code, label in TASKS[task].codes.items()}


def dr_grade(text: str, ungradable: int | None = None) -> str:
    """The canonical label of a grade from 0 to 4 of diabetic retinopathy.

    Args:
        text: as the table has it.
        ungradable: the value by which the dataset says that a photo cannot be graded.

    Raises:
        Unfit: there is none, or it is another value.
    """
    if not text:
        raise Unfit("unlabelled", "has no grade")
    grade = whole_number(text, range(len(DR_GRADES)))
    if grade is not None:
        return DR_GRADES[grade]
    if ungradable is not None and whole_number(text, range(ungradable, ungradable + 1)) is not None:
        raise Unfit("unlabelled", f"has the grade {text}: the photo cannot be graded")
    raise Unfit("bad_label", f"has the grade {text}, which is not 0 to 4")


def eye_of(text: str) -> Literal["left", "right", ""]:
    """The eye that ``OD``, ``OS``, ``L``, ``right`` and the like name; empty for anything else."""
    plain = plain_name(text)
    if plain in _RIGHT:
        return "right"
    return "left" if plain in _LEFT else ""
