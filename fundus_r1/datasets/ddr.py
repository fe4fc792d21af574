"""DDR (OIA-DDR): colour photos with grades, of which 757 have lesion masks.

``DR_grading/{train,valid,test}.txt`` hold lines ``<file.jpg> <grade>`` without a header, beside a folder
of images for each; grade 5 means that a photo cannot be graded. ``lesion_segmentation/{train,valid,test}``
hold ``image/`` and, by lesion, ``label/{EX,HE,MA,SE}/*.tif``, where the valid part says ``segmentation
label`` instead of ``label``. A lesion without a mask file is absent. A segmented photo gives its masks to
the graded photo of the same name, or else to the one with the same pixels; alone it has no grade and is
no sample. Train and valid are training data.

DDR documents no patients. Photos whose names differ in their last number only are kept on one side.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_text, stem
from fundus_r1.datasets.folders import below, child, search
from fundus_r1.datasets.labelled import (
    Table,
    demand,
    dr_grade,
    files_by_stem,
    files_of,
    from_files,
    from_table,
    joined,
    masks_by_stem,
)
from fundus_r1.rows import Modality

NAME = "ddr"
GRADING, SEGMENTATION = "DR_grading", "lesion_segmentation"
TRAINING = ("train", "valid")
UNGRADABLE = 5
LESIONS = {
    "microaneurysm": "MA",
    "retinal_hemorrhage": "HE",
    "hard_exudate": "EX",
    "cotton_wool_spot": "SE",
}
"""Finding -> folder of its masks."""
_MASKS = ("label", "segmentation label")
_LAST_NUMBER = re.compile(r"[-_]\d+$")


def find(root: Path) -> list[Path]:
    """Folders that hold ``DR_grading`` with its lists."""

    def matches(folder: Path, _folders: list[str], _files: list[str]) -> bool:
        grading = child(folder, GRADING)
        return grading is not None and (grading / "train.txt").is_file()

    return search(root, matches)


def read(folder: Path) -> Reading:
    """The graded photos of train and valid, with the masks that belong to them."""
    grading = demand(NAME, folder, GRADING)
    reading = joined(_graded(folder, grading, part) for part in TRAINING)
    reading.held_out.extend(files_of(child(grading, "test")))
    segmentation = child(folder, SEGMENTATION)
    if segmentation is None:
        return reading
    segmented = joined(_segmented(folder, demand(NAME, segmentation, part)) for part in TRAINING)
    masks = {stem(candidate.name): candidate for candidate in segmented.candidates}
    graded = [
        replace(candidate, masks=masks.pop(stem(candidate.name)).masks)
        if stem(candidate.name) in masks
        else candidate
        for candidate in reading.candidates
    ]
    return joined([replace(reading, candidates=graded), Reading(list(masks.values()), segmented.quarantined)])


def _graded(folder: Path, grading: Path, part: str) -> Reading:
    images, table = demand(NAME, grading, part), grading / f"{part}.txt"

    def candidate(file: Path, row: dict[str, str]) -> Candidate:
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(dr_grade(row["grade"], UNGRADABLE),),
            patient=_patient(file),
        )

    rows = Table(table.name, _lines(table), "image")
    return from_table(NAME, folder, rows, images, files_by_stem(files_of(images)), candidate)


def _lines(table: Path) -> list[tuple[int, dict[str, str]]]:
    lines = enumerate(read_text(table).splitlines(), start=1)
    rows = [(number, line.rsplit(maxsplit=1)) for number, line in lines if line.strip()]
    return [(number, {"image": row[0], "grade": row[1] if row[1:] else ""}) for number, row in rows]


def _segmented(folder: Path, part: Path) -> Reading:
    images = demand(NAME, part, "image")
    labels = next((place for name in _MASKS if (place := child(part, name)) is not None), None)
    masks = labels or demand(NAME, part, _MASKS[0])
    files = files_of(images)
    lesions = {finding: (demand(NAME, masks, place), "") for finding, place in LESIONS.items()}
    found, lost = masks_by_stem(NAME, folder, lesions, files_by_stem(files))

    def candidate(file: Path) -> Candidate:
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(),
            patient=_patient(file),
            masks=found[stem(file.name)],
            annotates=True,
        )

    return joined([Reading([], lost), from_files(NAME, folder, files, candidate)])


def _patient(file: Path) -> str:
    return f"{NAME}:{_LAST_NUMBER.sub('', file.stem)}"


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="DR_grading/{train,valid}.txt beside their folders, and lesion_segmentation/{train,valid}/...",
    find=find,
    read=read,
)
