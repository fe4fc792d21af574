"""The split into training and validation, by patient.

The rule: a patient's part depends on nothing but the patient's name, the seed and the share. So
all images of a patient are on one side, and adding a dataset moves no one.
"""

from __future__ import annotations

import hashlib

from fundus_r1.rows import Split


def unit(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def split_of(patient: str, seed: int, validation_share: float) -> Split:
    """The side on which a patient is."""
    return Split.VALIDATION if unit("split", seed, patient) < validation_share else Split.TRAIN
