"""IDRiD: colour photos with grades (part B) and with lesion masks (part A).

``A. Segmentation/{1. Original Images,2. All Segmentation Groundtruths}/a. Training Set`` and
``B. Disease Grading/{1. Original Images/a. Training Set,2. Groundtruths/a. ... Training Labels.csv}``,
also as the archives unpack them (``A.%20Segmentation/A. Segmentation``). Both parts number their
images from 1, but the numbers are different images: only equal pixels say that a photo of part A
is one of part B. A lesion without a mask file is absent. Only training parts are training data,
and a photo of part A that is in B's testing set is none. IDRiD names no patients.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_table, stem, whole_number
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import (
    Table,
    Unfit,
    demand,
    dr_grade,
    files_by_stem,
    files_of,
    from_files,
    from_table,
    joined,
    masks_by_stem,
)
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality

NAME = "idrid"
UNGRADED = "diabetic_retinopathy"
LESIONS = {
    "microaneurysm": ("1. Microaneurysms", "MA"),
    "retinal_hemorrhage": ("2. Haemorrhages", "HE"),
    "hard_exudate": ("3. Hard Exudates", "EX"),
    "cotton_wool_spot": ("4. Soft Exudates", "SE"),
}
"""Finding -> (folder of its masks, ending of their names)."""
SEGMENTATION = "A. Segmentation"
GRADING = "B. Disease Grading"
IMAGES = "1. Original Images"
MASKS = "2. All Segmentation Groundtruths"
TABLES = "2. Groundtruths"
TRAINING = "a. Training Set"
TESTING = "b. Testing Set"
NAME_COLUMN, GRADE_COLUMN, OEDEMA_COLUMN = "Image name", "Retinopathy grade", "Risk of macular edema "


def find(root: Path) -> list[Path]:
    """Folders that hold part A, part B or both."""
    parts = {plain_name(SEGMENTATION), plain_name(GRADING)}
    return search(root, lambda _folder, folders, _files: any(plain_name(name) in parts for name in folders))


def read(folder: Path) -> Reading:
    """The graded photos, and those with masks, which may be the same ones."""
    grading, segmentation = _part(folder, GRADING), _part(folder, SEGMENTATION)
    readings = []
    if grading is not None:
        readings.append(_read_grading(folder, grading))
    if segmentation is not None:
        readings.append(_read_segmentation(folder, segmentation))
    return joined(readings)


def _part(folder: Path, name: str) -> Path | None:
    part = child(folder, name)
    return None if part is None else child(part, name) or part


def _read_grading(folder: Path, part: Path) -> Reading:
    images, tables = demand(NAME, part, IMAGES, TRAINING), demand(NAME, part, TABLES)
    table = next((n for n in entries(tables)[1] if plain_name(n).endswith("training labels csv")), None)
    if table is None:
        raise DataError(
            "IDRiD lacks the table of training grades",
            where=str(tables),
            hint="it is called 'a. IDRiD_Disease Grading_Training Labels.csv'",
        )
    columns = tuple(name.strip().casefold() for name in (NAME_COLUMN, GRADE_COLUMN, OEDEMA_COLUMN))

    def candidate(file: Path, row: dict[str, str]) -> Candidate:
        label, oedema = dr_grade(row[columns[1]]), row[columns[2]]
        risk = whole_number(oedema, range(3))
        if oedema and risk is None:
            raise Unfit("bad_label", f"has the oedema risk {oedema}, which is not 0 to 2")
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(label,),
            patient=f"{NAME}:{file.stem}",
            attributes={} if risk is None else {"macular_oedema_risk": str(risk)},
        )

    rows = Table(table, read_table(tables / table, columns), columns[0])
    reading = from_table(NAME, folder, rows, images, files_by_stem(files_of(images)), candidate)
    reading.held_out.extend(files_of(child(images.parent, TESTING)))
    return reading


def _read_segmentation(folder: Path, part: Path) -> Reading:
    images, masks = demand(NAME, part, IMAGES, TRAINING), demand(NAME, part, MASKS, TRAINING)
    files = files_of(images)
    lesions = {finding: (demand(NAME, masks, place), f"_{end}") for finding, (place, end) in LESIONS.items()}
    found, lost = masks_by_stem(NAME, folder, lesions, files_by_stem(files))

    def candidate(file: Path) -> Candidate:
        return Candidate(
            name=below(folder, file),
            file=file,
            labels=(UNGRADED,),
            patient=f"{NAME}:segmentation/{file.stem}",
            masks=found[stem(file.name)],
            annotates=True,
        )

    return joined([Reading([], lost), from_files(NAME, folder, files, candidate)])


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="B. Disease Grading/{1. Original Images,2. Groundtruths} and/or A. Segmentation/...",
    find=find,
    read=read,
)
