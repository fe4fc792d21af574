"""FGADR: colour photos of diabetic retinopathy with a folder of masks a lesion.

``Seg-set/{Original_Images,<Lesion>_Masks}/0001_2.png``, masks of the same names; grey values from 128 on
are the lesion, and a lesion without a mask is absent. The paper trains on FGADR-143-9, a re-annotation of
143 of the photos with nine lesions, for which no published layout was found: any folder ``..._Masks``
whose name is a finding of the ontology is read, so it may be laid out likewise.

Photos are asked for the disease alone. ``DR_Seg_Grading_Label.csv``, where it is there (image and grade,
without a header), gives the grade as an attribute, and a photo of grade 0 does not show the disease. No
patients are named: each image stands for one.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_text, stem
from fundus_r1.datasets.folders import below, entries, plain_name, search
from fundus_r1.datasets.labelled import (
    Unfit,
    demand,
    files_by_stem,
    files_of,
    from_files,
    joined,
    masks_by_stem,
)
from fundus_r1.datasets.views import Mask
from fundus_r1.ontology.findings import canonical_finding
from fundus_r1.rows import Modality, Quarantined

NAME = "fgadr"
LABEL = "diabetic_retinopathy"
IMAGES, GRADES = "Original_Images", "DR_Seg_Grading_Label.csv"
LESIONS = {
    "hardexudate": "hard_exudate",
    "softexudate": "cotton_wool_spot",
    "hemohedge": "retinal_hemorrhage",
}
"""Names of folders that are FGADR's own; the others are names of findings."""
MARKED = 128
"""The lowest grey value that is the lesion."""
_MASKS = re.compile(r"(?P<lesion>.+?)[_ ]masks?", re.IGNORECASE)


def find(root: Path) -> list[Path]:
    """Folders with ``Original_Images`` and a folder of masks."""

    def matches(_folder: Path, folders: list[str], _files: list[str]) -> bool:
        photos = any(plain_name(name) == plain_name(IMAGES) for name in folders)
        return photos and any(map(_MASKS.fullmatch, folders))

    return search(root, matches)


def read(folder: Path) -> Reading:
    """All photos with their masks."""
    files = files_of(demand(NAME, folder, IMAGES))
    lesions: dict[str, tuple[Path, str]] = {}
    unknown = []
    for name in entries(folder)[0]:
        match = _MASKS.fullmatch(name)
        finding = _finding(match["lesion"]) if match else None
        if finding is not None:
            lesions[finding] = (folder / name, "")
        elif match:
            detail = f"{match['lesion']} is no finding that is known"
            unknown.append(Quarantined(dataset=NAME, path=name, reason="bad_label", detail=detail))
    found, lost = masks_by_stem(NAME, folder, lesions, files_by_stem(files))
    grades = _grades(folder)

    def candidate(file: Path) -> Candidate:
        grade = grades.get(stem(file.name), "")
        if grade == "0":
            raise Unfit("bad_label", f"its grade in {GRADES} is 0: no diabetic retinopathy")
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(LABEL,),
            patient=f"{NAME}:{file.stem}",
            attributes={"grade": grade} if grade else {},
            masks={finding: Mask(mask, MARKED) for finding, mask in found[stem(file.name)].items()},
        )

    return joined([Reading([], [*unknown, *lost]), from_files(NAME, folder, files, candidate)])


def _finding(lesion: str) -> str | None:
    return LESIONS.get(lesion.casefold()) or canonical_finding(lesion.replace("_", " "))


def _grades(folder: Path) -> dict[str, str]:
    """Stem -> grade; none without the table."""
    table = next((file for file in files_of(folder) if file.name.casefold() == GRADES.casefold()), None)
    if table is None:
        return {}
    lines = [line.split(",") for line in read_text(table).splitlines()]
    return {stem(line[0]): line[1].strip() for line in lines if len(line) > 1}


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="Original_Images/ and <Lesion>_Masks/ with files of the same names",
    find=find,
    read=read,
)
