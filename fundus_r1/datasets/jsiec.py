"""JSIEC (1000images on Kaggle): colour photos in a folder a class, ``0.3.DR1``, ``29.0.Blur fundus ...``.

39 folders were published, and the paper speaks of 35 classes; which four it left out is unverified, so
all are read (``ontology/tasks.yaml``). File names are random, some with two dots. No patients are named:
each image stands for one. There is no official split.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading
from fundus_r1.datasets.folders import below, entries, plain_name, search
from fundus_r1.datasets.labelled import Unfit, codes, files_below, from_files
from fundus_r1.rows import Modality

NAME = "jsiec"
CLASSES = codes("jsiec_disease")
ENOUGH = 3
"""Known class folders by which the dataset is recognised."""
_FOLDER = re.compile(r"\d+\.\d+\.\s*(?P<label>.+)")


def find(root: Path) -> list[Path]:
    """Folders with at least three numbered class folders."""

    def matches(_folder: Path, folders: list[str], _files: list[str]) -> bool:
        return sum(_label(name) is not None for name in folders) >= ENOUGH

    return search(root, matches)


def _label(folder: str) -> str | None:
    match = _FOLDER.fullmatch(folder)
    return CLASSES.get(plain_name(match["label"])) if match else None


def read(folder: Path) -> Reading:
    """The photos of all class folders."""
    files = [file for name in entries(folder)[0] for file in files_below(folder / name)]
    return from_files(NAME, folder, files, lambda file: _candidate(folder, file))


def _candidate(folder: Path, file: Path) -> Candidate:
    place = file.relative_to(folder).parts[0]
    label = _label(place)
    if label is None:
        raise Unfit("bad_label", f"the folder {place} is no class that is known")
    name = below(folder, file)
    return Candidate(name=name, file=file, labels=(label,), patient=f"{NAME}:{name}")


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="a folder a class, such as 0.0.Normal, 0.3.DR1, 2.0.BRVO",
    find=find,
    read=read,
)
