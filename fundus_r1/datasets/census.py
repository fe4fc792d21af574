"""The census: how many images carry each label on each side of the split (paper, Tab. 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fundus_r1.rows import Sample


def census(samples: Sequence[Sample]) -> list[dict[str, str | int]]:
    """One entry for each (dataset, modality, label, split), sorted.

    An image with several labels counts once under each. ``masked`` counts images with pixel labels.
    """
    images: Counter[tuple[str, str, str, str]] = Counter()
    masked: Counter[tuple[str, str, str, str]] = Counter()
    for sample in samples:
        for label in sample.labels:
            key = (sample.dataset, sample.modality.value, label, sample.split.value)
            images[key] += 1
            masked[key] += sample.findings is not None
    return [
        {
            "dataset": key[0],
            "modality": key[1],
            "label": key[2],
            "split": key[3],
            "samples": images[key],
            "masked": masked[key],
        }
        for key in sorted(images)
    ]
