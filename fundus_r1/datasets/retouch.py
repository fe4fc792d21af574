"""RETOUCH: OCT volumes of three devices, with a mask of three fluids for each B-scan.

``TrainingSet-Release/{Cirrus,Spectralis,Topcon}/<case>/{oct,reference}.{mhd,raw}``, or folders called
``RETOUCH-TrainingSet-<device>``. A value of the reference is 1 intraretinal fluid, 2 subretinal fluid, 3
pigment epithelial detachment. The disease of an eye is not published, so the labels of a B-scan are the
fluids that its mask marks, and its findings are the same. A case is a patient. Test sets have no public
masks and are not read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading
from fundus_r1.datasets.folders import below, entries, plain_name, search
from fundus_r1.datasets.labelled import joined
from fundus_r1.datasets.metaimage import read_volume
from fundus_r1.errors import DataError
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Modality, Quarantined

NAME = "retouch"
DEVICES = ("cirrus", "spectralis", "topcon")
FLUIDS = {1: "intraretinal_fluid", 2: "subretinal_fluid", 3: "pigment_epithelial_detachment"}
"""Value in the reference -> finding, which is the label's key too."""
NO_FLUID = TASKS["retouch_fluid"].codes["background"]
_SCAN, _REFERENCE = "oct.mhd", "reference.mhd"


def find(root: Path) -> list[Path]:
    """Folders with a folder for a device that holds cases."""

    def matches(folder: Path, folders: list[str], _files: list[str]) -> bool:
        return any(_cases(folder / name) for name in folders if _device(name) and not _is_test(name))

    return search(root, matches)


def _device(name: str) -> str:
    words = plain_name(name).split()
    return next((device for device in DEVICES if device in words), "")


def _is_test(name: str) -> bool:
    return any(word.startswith("test") for word in plain_name(name).split())


def _cases(device: Path) -> list[Path]:
    return [device / name for name in entries(device)[0] if (device / name / _SCAN).is_file()]


def read(folder: Path) -> Reading:
    """All B-scans of the training cases."""
    devices = [name for name in entries(folder)[0] if _device(name) and not _is_test(name)]
    return joined(_case(folder, case, _device(name)) for name in devices for case in _cases(folder / name))


def _case(folder: Path, case: Path, device: str) -> Reading:
    try:
        scan, reference = read_volume(case / _SCAN), read_volume(case / _REFERENCE)
        if scan.size != reference.size:
            raise DataError(
                f"The scan has the size {scan.size}, its reference {reference.size}",
                where=str(case), hint="unpack the dataset again",
            )  # fmt: skip
        values = [np.unique(reference.values(number)).tolist() for number in range(reference.size[2])]
    except DataError as error:
        lost = Quarantined(dataset=NAME, path=below(folder, case), reason="bad_row", detail=error.what)
        return Reading([], [lost])
    reading = Reading([], [])
    for number, (plane, found) in enumerate(zip(scan.planes, values, strict=True)):
        name = f"{below(folder, case)}/{number:03d}"
        if unknown := set(found) - {0, *FLUIDS}:
            detail = f"the reference has the values {sorted(unknown)}, which are not 0 to 3"
            reading.quarantined.append(
                Quarantined(dataset=NAME, path=name, reason="bad_label", detail=detail)
            )
            continue
        fluids = tuple(fluid for value, fluid in FLUIDS.items() if value in found)
        reading.candidates.append(
            Candidate(
                name=name,
                file=plane,
                labels=fluids or (NO_FLUID,),
                patient=f"{NAME}:{below(folder, case)}",
                attributes={"device": device},
                findings=fluids,
            )
        )
    return reading


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.OCT,
    layout="{Cirrus,Spectralis,Topcon}/<case>/{oct,reference}.{mhd,raw}",
    find=find,
    read=read,
)
