"""DeepDRiD: regular and ultra-widefield photos of both eyes, with grades of diabetic retinopathy.

``regular_fundus_images/regular-fundus-{training,validation}`` and
``ultra-widefield_images/ultra-widefield-{training,validation}`` hold ``Images/<patient>/<image>.jpg`` and
a table. Its ``image_path`` has backslashes and lacks a folder, so images are found by ``image_id``. In the
regular part the grade stands in the column of the left or of the right eye and the other one is empty;
which eye it is, the image's own name tells better (patient 56 has them exchanged), and some further
views have no grade at all. Level 5 means ungradable. Evaluation parts are held out. The two parts have
patients of their own, under numbers that overlap.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_table
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import (
    Table,
    Unfit,
    demand,
    dr_grade,
    eye_of,
    files_below,
    files_by_stem,
    files_of,
    from_table,
    joined,
)
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality

NAME = "deepdrid"
REGULAR, WIDE = "regular_fundus_images", "ultra-widefield_images"
TRAINING = ("training", "validation")
UNGRADABLE = 5
_GRADES = ("left_eye_dr_level", "right_eye_dr_level")
_EYE = re.compile(r"_(?P<eye>[lr])", re.IGNORECASE)
_PICTURES = (".jpg", ".jpeg", ".png")


def find(root: Path) -> list[Path]:
    """Folders with either part."""
    parts = {plain_name(REGULAR), plain_name(WIDE)}
    return search(root, lambda _folder, folders, _files: any(plain_name(name) in parts for name in folders))


def read(folder: Path) -> Reading:
    """Training and validation of both parts."""
    readings = []
    for part, modality in ((REGULAR, Modality.CFP), (WIDE, Modality.UWF)):
        place = child(folder, part)
        if place is not None:
            readings += [_part(folder, place / name, modality) for name in entries(place)[0] if _trains(name)]
            held_out = [
                f for name in entries(place)[0] if not _trains(name) for f in files_below(place / name)
            ]
            readings.append(
                Reading([], [], [file for file in held_out if file.suffix.casefold() in _PICTURES])
            )
    return joined(readings)


def _trains(name: str) -> bool:
    return any(word in TRAINING for word in plain_name(name).split())


def _part(folder: Path, part: Path, modality: Modality) -> Reading:
    tables = [file for file in files_of(part) if file.suffix.casefold() == ".csv"]
    if not tables:
        raise DataError(
            "DeepDRiD lacks the table of a part", where=str(part), hint=f"it is called {part.name}.csv"
        )
    wide = modality is Modality.UWF
    columns = ("patient_id", "image_id", *(("dr_level",) if wide else _GRADES))
    images = demand(NAME, part, "Images")

    def candidate(file: Path, row: dict[str, str]) -> Candidate:
        if not row["patient_id"]:
            raise Unfit("bad_row", "names no patient")
        eye = _EYE.search(row["image_id"])
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(dr_grade(row["dr_level"] if wide else _grade(row), UNGRADABLE),),
            patient=f"{NAME}:{'uwf/' if wide else ''}{row['patient_id']}",
            eye=eye_of(eye["eye"]) if eye else "",
            modality=modality,
        )

    rows = Table(tables[0].name, read_table(tables[0], columns), "image_id")
    return from_table(NAME, folder, rows, images, files_by_stem(files_below(images)), candidate)


def _grade(row: dict[str, str]) -> str:
    """The one level that is filled in."""
    found = [row[column] for column in _GRADES if row[column]]
    if len(found) > 1:
        raise Unfit("bad_label", "has a level for both eyes")
    return found[0] if found else ""


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="regular_fundus_images/regular-fundus-{training,validation}/{Images/,*.csv}, "
    "and ultra-widefield_images/ likewise",
    find=find,
    read=read,
)
