"""The paper's Tab. 2: the 17 public datasets, their samples, and how many have pixel-level labels.

Figures as printed. They count what the paper trained on, which is a part of each dataset (its
official training part, or about four fifths of it), not what a download holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from fundus_r1.rows import Modality
from fundus_r1.spec.science import Dataset


@dataclass(frozen=True)
class DatasetRow:
    """A row of Tab. 2."""

    dataset: Dataset
    name: str
    """As printed."""
    modalities: tuple[Modality, ...]
    samples: int
    pixel_labelled: int
    task: str
    """Primary task, as printed."""


_CFP, _OCT, _UWF = (Modality.CFP,), (Modality.OCT,), (Modality.UWF,)

TABLE_2: tuple[DatasetRow, ...] = (
    DatasetRow("fgadr", "FGADR-143-9", _CFP, 143, 143, "DR-specific lesion segmentation"),
    DatasetRow("idrid", "IDRiD", _CFP, 413, 54, "DR grading"),
    DatasetRow("grape", "GRAPE", _CFP, 631, 0, "Glaucoma progression prediction"),
    DatasetRow("jsiec", "JSIEC", _CFP, 800, 0, "35-class disease classification"),
    DatasetRow("retinal_lesions", "Retinal-Lesions", _CFP, 1_264, 1_264, "DR grading"),
    DatasetRow("rfmid", "RFIMiD", _CFP, 2_560, 0, "46-label disease classification"),
    DatasetRow("odir", "OIA-ODIR", _CFP, 7_342, 0, "8-label disease classification"),
    DatasetRow("ddr", "DDR", _CFP, 8_763, 531, "DR grading"),
    DatasetRow("octid", "OCTID", _OCT, 458, 0, "5-class disease classification"),
    DatasetRow("octdl", "OCTDL", _OCT, 1_651, 0, "7-class classification and grading"),
    DatasetRow("oimhs", "OIMHS", _OCT, 3_859, 3_859, "4-class lesion segmentation"),
    DatasetRow("retouch", "RETOUCH", _OCT, 5_697, 2_742, "Fluid segmentation"),
    DatasetRow("neh", "NEH", _OCT, 13_642, 0, "3-class disease classification"),
    DatasetRow("kermany", "UCSD", _OCT, 107_312, 0, "4-class disease classification"),
    DatasetRow("top", "TOP", _UWF, 10_433, 0, "9-label disease classification"),
    DatasetRow("deepdrid", "DeepDRiD", (*_CFP, *_UWF), 1_800, 0, "DR grading"),
    DatasetRow("mmc_amd", "MMC-AMD", (*_CFP, *_OCT), 2_170, 0, "4-class AMD classification"),
)
"""In the paper's order. The two sets of two modalities are counted together."""
