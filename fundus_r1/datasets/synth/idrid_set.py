"""Synthetic colour photos in the layout of IDRiD.

Kept are its traps: the column with a space at its end, segmentation numbers that are other images
than the same grading numbers, and lesions that are absent because their mask file is.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_r1.datasets import idrid
from fundus_r1.datasets.labelled import DR_GRADES
from fundus_r1.datasets.synth import cfp
from fundus_r1.datasets.synth.layout import Shown, jpeg, write, write_csv
from fundus_r1.datasets.synth.paint import Drawing, generator
from fundus_r1.rows import Modality
from fundus_r1.spec.science import Synthetic

FIRST = 901
"""Number of the first image; IDRiD's own end at 413."""
_MASKED_GRADES = (1, 2, 3)
_OTHER_GRADES = (0, 4, 1, 2, 3)


def _cfp(spec: Synthetic, part: str, patient: int, photo: int, grade: int) -> Drawing:
    """One photo of a patient; odd photos are of the right eye."""
    pigment = float(generator(spec.seed, "cfp", part, patient).uniform(0, 1))
    rng = generator(spec.seed, "cfp", part, patient, "photo", photo)
    return cfp.draw(rng, spec.size, grade, left_eye=photo % 2 == 0, pigment=pigment)


def photos(spec: Synthetic) -> int:
    """How many photos the training part has: both eyes of each patient, and more visits where
    otherwise all photos would have masks."""
    return max(2 * spec.patients, spec.masked + spec.patients)


def write_training(folder: Path, spec: Synthetic) -> None:
    """Graded photos, and for the first ones their masks under other numbers."""
    grading, segmentation = folder / idrid.GRADING, folder / idrid.SEGMENTATION
    rows = []
    for number in range(photos(spec)):
        masked = number < spec.masked
        grades = _MASKED_GRADES if masked else _OTHER_GRADES
        grade = grades[(number if masked else number - spec.masked) % len(grades)]
        drawing = _cfp(spec, "training", number % spec.patients, number // spec.patients, grade)
        name, data = f"IDRiD_{FIRST + number}", jpeg(drawing.image)
        rows.append((name, grade, _oedema_risk(drawing)))
        write(grading / idrid.IMAGES / idrid.TRAINING / f"{name}.jpg", data)
        if masked:
            # Counted from the other end, so that equal numbers are other images, as in IDRiD.
            other = f"IDRiD_{FIRST + spec.masked - 1 - number}"
            write(segmentation / idrid.IMAGES / idrid.TRAINING / f"{other}.jpg", data)
            _write_masks(segmentation / idrid.MASKS / idrid.TRAINING, other, drawing)
    _write_grades(grading / idrid.TABLES / "a. IDRiD_Disease Grading_Training Labels.csv", rows)


def _oedema_risk(drawing: Drawing) -> int:
    """0 without exudates, 2 if one is within a disc's diameter of the macula, else 1."""
    mask = drawing.masks.get("hard_exudate")
    if mask is None or not mask.any():
        return 0
    rows, columns = np.nonzero(mask)
    x, y = columns / mask.shape[1] * 2 - 1, rows / mask.shape[0] * 2 - 1
    near = min(float(np.hypot(x - side * cfp.MACULA[0], y - cfp.MACULA[1]).min()) for side in (-1, 1))
    return 2 if near < 2 * cfp.DISC_RADIUS else 1


def _write_masks(folder: Path, name: str, drawing: Drawing) -> None:
    for finding, (lesion_folder, ending) in idrid.LESIONS.items():
        (folder / lesion_folder).mkdir(parents=True, exist_ok=True)
        mask = drawing.masks.get(finding)
        if mask is not None:
            buffer = io.BytesIO()
            Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="TIFF", compression="tiff_lzw")
            write(folder / lesion_folder / f"{name}_{ending}.tif", buffer.getvalue())


def _write_grades(path: Path, rows: Sequence[tuple[str, int, int]]) -> None:
    header = (idrid.NAME_COLUMN, idrid.GRADE_COLUMN, idrid.OEDEMA_COLUMN)
    write_csv(path, [header, *rows])


def write_testing(folder: Path, photos: Sequence[Shown]) -> None:
    """The official test part, which numbers its images from the start again."""
    grading = folder / idrid.GRADING
    rows = []
    for photo in photos:
        write(grading / idrid.IMAGES / idrid.TESTING / photo.name, photo.data)
        rows.append((Path(photo.name).stem, DR_GRADES.index(photo.labels[0]), _oedema_risk(photo.drawing)))
    _write_grades(grading / idrid.TABLES / "b. IDRiD_Disease Grading_Testing Labels.csv", rows)


def shown(spec: Synthetic, number: int) -> Shown:
    """A photo of a held-out patient."""
    grade = number % len(DR_GRADES)
    drawing = _cfp(spec, "held out", number, number % 2, grade)
    name = f"IDRiD_{FIRST + number}.jpg"
    label = (DR_GRADES[grade],)
    return Shown(Modality.CFP, name, jpeg(drawing.image), label, drawing, left_eye=number % 2 == 0)
