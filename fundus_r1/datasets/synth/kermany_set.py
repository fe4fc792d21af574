"""Synthetic B-scans in the layout of Kermany's set; some patients are in two class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fundus_r1.datasets import kermany
from fundus_r1.datasets.synth import oct
from fundus_r1.datasets.synth.layout import Shown, jpeg, write
from fundus_r1.datasets.synth.paint import Drawing, generator
from fundus_r1.rows import Modality
from fundus_r1.spec.science import Synthetic

FIRST_PATIENT = 900_000_001
"""Of the training part; Kermany's own numbers have seven digits at most."""
FIRST_HELD_OUT = 950_000_001


def _oct(spec: Synthetic, part: str, number: int, scan: int, label: str) -> Drawing:
    rng = generator(spec.seed, "oct", part, number, scan)
    return oct.draw(rng, spec.size, label, left_eye=number % 2 == 0)


def _oct_name(label: str, patient: int, scan: int) -> str:
    class_name = next(name for name, key in kermany.CLASSES.items() if key == label)
    return f"{class_name}-{patient}-{scan}.jpeg"


def write_training(folder: Path, spec: Synthetic) -> None:
    """Two scans of each patient, by class."""
    for number in range(spec.patients):
        for scan in (1, 2):
            label = oct.LABELS[number % len(oct.LABELS)]
            if scan == 2 and number % 8 == 3:
                label = "normal"  # The fellow eye: one patient in two class folders.
            name = _oct_name(label, FIRST_PATIENT + number, scan)
            drawing = _oct(spec, "training", number, scan, label)
            write(folder / "train" / name.split("-")[0] / name, jpeg(drawing.image))


def write_testing(folder: Path, scans: Sequence[Shown]) -> None:
    """The official test part, by class."""
    for scan in scans:
        write(folder / "test" / scan.name.split("-")[0] / scan.name, scan.data)


def shown(spec: Synthetic, number: int) -> Shown:
    """A scan of a held-out patient."""
    label = oct.LABELS[number % len(oct.LABELS)]
    drawing = _oct(spec, "held out", number, 1, label)
    name = _oct_name(label, FIRST_HELD_OUT + number, 1)
    return Shown(Modality.OCT, name, jpeg(drawing.image), (label,), drawing, left_eye=None)
