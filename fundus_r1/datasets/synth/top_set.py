"""Synthetic ultra-widefield photos in the layout of TOP, two eyes a patient.

Diabetes is a flag of its own there: the patient may have it and the eye nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fundus_r1.datasets import top
from fundus_r1.datasets.synth import uwf
from fundus_r1.datasets.synth.layout import Shown, jpeg, write, write_csv
from fundus_r1.datasets.synth.paint import Drawing, generator
from fundus_r1.rows import Modality
from fundus_r1.spec.science import Synthetic

FIRST_PATIENT = 900_001
FIRST_HELD_OUT = 950_001
_EYES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    ((), ()),
    (("amd",), ("amd",)),
    (("rvo",), ()),
    (("glaucoma",), ("glaucoma",)),
    ((), ("macular_hole",)),
    (("diabetic_retinopathy",), ("diabetic_retinopathy",)),
    (("retinal_detachment",), ()),
    (("retinitis_pigmentosa",), ("retinitis_pigmentosa",)),
    ((), ("artery_occlusion",)),
    (("rvo", "glaucoma"), ("glaucoma",)),
)
"""Diseases of the left and the right eye, patient by patient."""


def write_training(folder: Path, spec: Synthetic) -> None:
    """``data.csv`` and ``img/``."""
    header = ["filename", "ID", "age", "sex", "LR", "AMD", "RVO", "Gla", "MH", "DR", "RD", "RP", "AO", "DM"]
    table: list[Sequence[object]] = [header]
    for number in range(spec.patients):
        for left in (True, False):
            row = _row(spec, number, left, FIRST_PATIENT)
            flags = [int(top.FLAGS[name.casefold()] in row.labels) for name in header[5:-1]]
            side = "L" if left else "R"
            table.append([row.name, row.patient, row.age, row.sex, side, *flags, int(row.diabetes)])
            write(folder / "img" / row.name, jpeg(row.drawing.image))
    write_csv(folder / "data.csv", table)


@dataclass(frozen=True)
class _Row:
    name: str
    patient: str
    age: int
    sex: str
    labels: tuple[str, ...]
    diabetes: bool
    drawing: Drawing


def _row(spec: Synthetic, number: int, left: bool, first: int) -> _Row:
    patient = generator(spec.seed, "uwf", first, number)
    pigment, age = float(patient.uniform(0, 1)), int(patient.integers(28, 88))
    sex, diabetic = ("M", "F")[int(patient.integers(2))], bool(patient.random() < 0.15)
    labels = _EYES[number % len(_EYES)][0 if left else 1]
    rng = generator(spec.seed, "uwf", first, number, "eye", left)
    return _Row(
        name=f"{first + number:06d}_{0 if left else 1:02d}.jpg",
        patient=str(first + number),
        age=age,
        sex=sex,
        labels=labels,
        diabetes=diabetic or "diabetic_retinopathy" in labels,
        drawing=uwf.draw(rng, spec.size, labels, left_eye=left, pigment=pigment),
    )


def shown(spec: Synthetic, number: int) -> Shown:
    """A photo of a held-out patient."""
    left, right = _EYES[number % len(_EYES)]
    # The eye that has something, and by turns where both have.
    is_left = bool(left) if bool(left) != bool(right) else number % 2 == 0
    row = _row(spec, number, is_left, FIRST_HELD_OUT)
    labels = row.labels or ("normal",)
    return Shown(Modality.UWF, row.name, jpeg(row.drawing.image), labels, row.drawing, is_left)
