"""Retinal-Lesions: colour photos from EyePACS with grades, and masks of eight lesions for each.

``images_896x896/18059_left.jpg``; ``segmentation/<lesion>/`` with a mask of the same name, in which 255
is the lesion and 127 one that does not conform to the AAO's guideline and is not counted. A lesion
without a mask is absent. The number in a name is the patient. How the table of grades is called is not
documented: it is the CSV or text file most of whose lines begin with the name of a photo and end with a
grade from 0 to 4. There is no official split.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, stem, whole_number
from fundus_r1.datasets.folders import below, child, plain_name, search
from fundus_r1.datasets.labelled import (
    Table,
    Unfit,
    demand,
    dr_grade,
    eye_of,
    files_by_stem,
    files_of,
    from_table,
    joined,
    masks_by_stem,
)
from fundus_r1.datasets.views import Mask
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality

NAME = "retinal_lesions"
IMAGES, SEGMENTATION = "images_896x896", "segmentation"
LESIONS = {
    "microaneurysm": "microaneurysm",
    "retinal_hemorrhage": "retinal_hemorrhage",
    "hard_exudate": "hard_exudate",
    "cotton_wool_spot": "cotton_wool_spots",
    "preretinal_hemorrhage": "preretinal_hemorrhage",
    "vitreous_hemorrhage": "vitreous_hemorrhage",
    "fibrous_proliferation": "fibrous_proliferation",
    "neovascularization": "neovascularization",
}
"""Finding -> folder of its masks."""
CONFORMING = 128
"""The lowest grey value that counts, between 127 and 255."""
_PHOTO = re.compile(r"(?P<patient>\d+)_(?P<eye>left|right)", re.IGNORECASE)


def find(root: Path) -> list[Path]:
    """Folders with ``images_896x896`` and ``segmentation``."""
    wanted = {plain_name(IMAGES), plain_name(SEGMENTATION)}
    return search(root, lambda _folder, folders, _files: {*map(plain_name, folders)} >= wanted)


def read(folder: Path) -> Reading:
    """All graded photos with their masks."""
    images, masks = demand(NAME, folder, IMAGES), demand(NAME, folder, SEGMENTATION)
    files = files_by_stem(files_of(images))
    table = _grades(folder, files)
    lesions = {finding: (_lesion(masks, place), "") for finding, place in LESIONS.items()}
    found, lost = masks_by_stem(NAME, folder, lesions, files)

    def candidate(file: Path, row: dict[str, str]) -> Candidate:
        photo = _PHOTO.match(file.stem)
        if photo is None:
            raise Unfit("bad_row", f"names {file.name}, which has no form <patient>_<eye>")
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(dr_grade(row["grade"]),),
            patient=f"{NAME}:{photo['patient']}",
            eye=eye_of(photo["eye"]),
            masks={finding: Mask(mask, CONFORMING) for finding, mask in found[stem(file.name)].items()},
        )

    return joined([Reading([], lost), from_table(NAME, folder, table, images, files, candidate)])


def _lesion(masks: Path, place: str) -> Path:
    """A lesion's folder, whose name may be in the singular or the plural."""
    return child(masks, place) or child(masks, place.removesuffix("s")) or demand(NAME, masks, place)


def _grades(folder: Path, files: dict[str, Path]) -> Table:
    for file in files_of(folder):
        if file.suffix.casefold() not in (".csv", ".txt"):
            continue
        lines = enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1)
        rows = [(number, re.split(r"[,;\s]+", line.strip())) for number, line in lines if line.strip()]
        if rows and stem(rows[0][1][0]) not in files:
            # A header.
            del rows[0]
        table = [(n, {"image": row[0], "grade": row[-1] if row[1:] else ""}) for n, row in rows]
        # The positions in od_fovea_autoloc.txt end with no grade.
        if sum(_is_grade(row, files) for _, row in table) > len(table) // 2:
            return Table(file.name, table, "image")
    raise DataError(
        "Retinal-Lesions lacks the table of grades",
        where=str(folder),
        hint="put the CSV or text file with a photo's name and its grade (0 to 4) in each line there",
    )


def _is_grade(row: dict[str, str], files: dict[str, Path]) -> bool:
    return stem(row["image"]) in files and whole_number(row["grade"], range(5)) is not None


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="images_896x896/, segmentation/<lesion>/ and a table of grades",
    find=find,
    read=read,
)
