"""OIMHS: OCT B-scans of eyes with a macular hole, each in one picture with its mask.

``Images/<eye>/*.png``: the left half is the B-scan, the right half a mask in colours: yellow choroid,
green retina, blue intraretinal cysts, red macular hole. The two structures that every retina has are no
findings. All B-scans carry the eye's diagnosis, also those that do not cut the hole; only where the mask
is red does the hole count as a finding. Which eyes belong to one person is not published: each eye
stands for a patient. There is no official split, and the hole's stage is not read.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import Unfit, demand, files_below, from_files
from fundus_r1.datasets.views import Half, Mask
from fundus_r1.rows import Modality

NAME = "oimhs"
FINDINGS = {"intraretinal_fluid": (0, 0, 255), "full_thickness_macular_defect": (255, 0, 0)}
"""Finding -> colour in the mask."""
WIDTH = 1024
"""Pixels of image and mask together."""
_PNG = b"\x89PNG\r\n\x1a\n"


def find(root: Path) -> list[Path]:
    """Folders with ``Images/<number>/`` whose first picture is as wide as an image and its mask."""

    def matches(folder: Path, folders: list[str], _files: list[str]) -> bool:
        images = child(folder, "Images") if "images" in map(plain_name, folders) else None
        eyes = [name for name in entries(images)[0] if name.isdigit()] if images is not None else []
        return images is not None and bool(eyes) and _is_double(images / eyes[0])

    return search(root, matches)


def _is_double(eye: Path) -> bool:
    for name in entries(eye)[1]:
        if name.casefold().endswith(".png"):
            with (eye / name).open("rb") as file:
                header = file.read(24)
            return header.startswith(_PNG) and int.from_bytes(header[16:20]) == WIDTH
    return False


def read(folder: Path) -> Reading:
    """All B-scans."""
    images = demand(NAME, folder, "Images")
    return from_files(NAME, folder, files_below(images), lambda file: _candidate(folder, images, file))


def _candidate(folder: Path, images: Path, file: Path) -> Candidate:
    if file.parent == images:
        raise Unfit("bad_row", "the picture lies in no eye's folder")
    mask = Half(file, "right")
    return Candidate(
        name=below(folder, file),
        file=Half(file, "left"),
        labels=("macular_hole",),
        patient=f"{NAME}:{file.relative_to(images).parts[0]}",
        masks={finding: Mask(mask, colour, colour) for finding, colour in FINDINGS.items()},
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.OCT,
    layout="Images/<eye>/*.png, B-scan and mask side by side",
    find=find,
    read=read,
)
