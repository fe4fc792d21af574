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

from fundus_r1.datasets.adapter import (
    Adapter,
    Candidate,
    Reading,
    distinct,
    read_table,
    stem,
    whole_number,
)
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality, Quarantined

NAME = "idrid"
GRADES = ("no_dr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr")
"""Canonical labels of the international scale, by grade."""
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
    reading = Reading([], [])
    grading, segmentation = _part(folder, GRADING), _part(folder, SEGMENTATION)
    if grading is not None:
        _read_grading(folder, grading, reading)
    if segmentation is not None:
        _read_segmentation(folder, segmentation, reading)
    return reading


def _part(folder: Path, name: str) -> Path | None:
    part = child(folder, name)
    return None if part is None else child(part, name) or part


def _demand(folder: Path, *names: str) -> Path:
    for name in names:
        inner = child(folder, name)
        if inner is None:
            raise DataError(
                f"IDRiD lacks the folder {name}",
                where=str(folder),
                hint="unpack the whole archive; a folder that is missing is no lesion that is absent",
            )
        folder = inner
    return folder


def _read_grading(folder: Path, part: Path, into: Reading) -> None:
    images, tables = _demand(part, IMAGES, TRAINING), _demand(part, TABLES)
    table = next((n for n in entries(tables)[1] if plain_name(n).endswith("training labels csv")), None)
    if table is None:
        raise DataError(
            "IDRiD lacks the table of training grades",
            where=str(tables),
            hint="it is called 'a. IDRiD_Disease Grading_Training Labels.csv'",
        )
    columns = tuple(name.strip().casefold() for name in (NAME_COLUMN, GRADE_COLUMN, OEDEMA_COLUMN))
    at = below(folder, images)
    rows, repeated = distinct(read_table(tables / table, columns), columns[0], NAME, at)
    into.quarantined.extend(repeated)
    files = {stem(name): images / name for name in entries(images)[1]}
    named = {stem(row.path) for row in repeated}
    for line, row in rows:
        name, grade, oedema = (row[column] for column in columns)
        named.add(stem(name))
        result = _graded(folder, f"{at}/{name}", files.get(stem(name)), line, grade, oedema)
        (into.candidates if isinstance(result, Candidate) else into.quarantined).append(result)  # type: ignore[arg-type]
    into.quarantined.extend(
        Quarantined(dataset=NAME, path=below(folder, file), reason="unlabelled", detail=f"no row of {table}")
        for name, file in files.items()
        if name not in named
    )
    testing = child(images.parent, TESTING)
    if testing is not None:
        into.held_out.extend(testing / name for name in entries(testing)[1])


def _graded(
    folder: Path, path: str, file: Path | None, line: int, grade: str, oedema: str
) -> Candidate | Quarantined:
    at = f"line {line} of the table"
    if file is None:
        return Quarantined(dataset=NAME, path=path, reason="missing", detail=f"{at} names no file there is")
    path = below(folder, file)
    if not grade:
        return Quarantined(dataset=NAME, path=path, reason="unlabelled", detail=f"{at} has no grade")
    number = whole_number(grade, range(len(GRADES)))
    if number is None:
        detail = f"{at} has the grade {grade}, which is not 0 to 4"
        return Quarantined(dataset=NAME, path=path, reason="bad_label", detail=detail)
    risk = whole_number(oedema, range(3))
    if oedema and risk is None:
        detail = f"{at} has the oedema risk {oedema}, which is not 0 to 2"
        return Quarantined(dataset=NAME, path=path, reason="bad_label", detail=detail)
    return Candidate(
        name=path,
        file=file,
        labels=(GRADES[number],),
        patient=f"{NAME}:{file.stem}",
        attributes={} if risk is None else {"macular_oedema_risk": str(risk)},
    )


def _read_segmentation(folder: Path, part: Path, into: Reading) -> None:
    images, masks = _demand(part, IMAGES, TRAINING), _demand(part, MASKS, TRAINING)
    files = {stem(name): images / name for name in entries(images)[1]}
    found: dict[str, dict[str, Path]] = {name: {} for name in files}
    for finding, (lesion_folder, ending) in LESIONS.items():
        lesions = _demand(masks, lesion_folder)
        for name in entries(lesions)[1]:
            image = stem(name).removesuffix(f"_{ending.casefold()}")
            if image in found:
                found[image][finding] = lesions / name
            else:
                path, detail = (
                    below(folder, lesions / name),
                    "the mask belongs to no photo of the training set",
                )
                into.quarantined.append(Quarantined(dataset=NAME, path=path, reason="missing", detail=detail))
    into.candidates.extend(
        Candidate(
            name=below(folder, file),
            file=file,
            labels=(UNGRADED,),
            patient=f"{NAME}:segmentation/{file.stem}",
            masks=found[name],
            annotates=True,
        )
        for name, file in files.items()
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="B. Disease Grading/{1. Original Images,2. Groundtruths} and/or A. Segmentation/...",
    find=find,
    read=read,
)
