"""Drawn eyes: a small collection in the official layouts, with benchmarks on held-out patients.

They let the whole pipeline be tried without any data. They are drawings, not medical data, and no
figure obtained with them says anything about the paper.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.datasets.synth import idrid_set, kermany_set, top_set
from fundus_r1.datasets.synth.layout import demand_empty
from fundus_r1.datasets.synth.questions import write_funbench, write_omnimedvqa
from fundus_r1.rows import Modality
from fundus_r1.spec.science import Synthetic

__all__ = ["draw_collection", "image_counts"]


def image_counts(spec: Synthetic) -> dict[Modality, int]:
    """How many training images a collection has, without drawing it."""
    return {
        Modality.CFP: idrid_set.photos(spec),
        Modality.OCT: 2 * spec.patients,
        Modality.UWF: 2 * spec.patients,
    }


def draw_collection(folder: Path, spec: Synthetic) -> None:
    """Draws the collection; the same spec gives the same bytes.

    Args:
        folder: where; it is made, and must be empty if it exists.
        spec: how much, and from which seed.

    Raises:
        DataError: the folder holds something already.
    """
    demand_empty(folder)
    idrid_set.write_training(folder / "IDRiD", spec)
    kermany_set.write_training(folder / "OCT2017", spec)
    top_set.write_training(folder / "TOP", spec)
    held_out = range(spec.benchmark)
    photos = [idrid_set.shown(spec, number) for number in held_out]
    scans = [kermany_set.shown(spec, number) for number in held_out]
    wide = [top_set.shown(spec, number) for number in held_out]
    if held_out:
        idrid_set.write_testing(folder / "IDRiD", photos)
        kermany_set.write_testing(folder / "OCT2017", scans)
        shown = [*photos, *scans, *wide]
        write_funbench(folder / "FunBench", shown, spec.seed)
        write_omnimedvqa(folder / "OmniMedVQA", shown, spec.seed)
