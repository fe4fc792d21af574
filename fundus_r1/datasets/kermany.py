"""Kermany's OCT set ("UCSD" in Tab. 2): ``<root>/train/<CLASS>/<CLASS>-<patient>-<n>.jpeg``.

Distributed as ``OCT2017/`` and as ``CellData/OCT/`` (Mendeley rscbjbr9sj). Only ``train`` is training
data: the 32 images of some copies' ``val`` were taken from the 1,000 of the official test part. The
number in a file's name is the patient across classes. ``CellData/chest_xray`` beside it is no OCT.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import Unfit, files_of, from_files
from fundus_r1.rows import Modality

NAME = "kermany"
CLASSES = {"CNV": "cnv", "DME": "dme", "DRUSEN": "drusen", "NORMAL": "normal"}
_ROOT_NAMES = ("oct2017", "celldata oct")
_FILE_NAME = re.compile(r"(?P<label>[A-Z]+)-(?P<patient>\d+)-\d+", re.IGNORECASE)


def find(root: Path) -> list[Path]:
    """Folders with ``train/`` that are called ``OCT2017`` or ``CellData/OCT``, or hold a class of OCT."""

    def matches(folder: Path, folders: list[str], _files: list[str]) -> bool:
        train = child(folder, "train") if "train" in map(str.casefold, folders) else None
        if train is None:
            return False
        called = (plain_name(folder.name), plain_name(f"{folder.parent.name} {folder.name}"))
        if any(name in _ROOT_NAMES for name in called):
            return True
        # NORMAL alone says nothing: chest_xray has it too.
        return any(name.upper() in CLASSES and name.upper() != "NORMAL" for name in entries(train)[0])

    return search(root, matches)


def read(folder: Path) -> Reading:
    """All images of the training part."""
    train = child(folder, "train")
    classes = [train / name for name in entries(train)[0]] if train is not None else []
    files = [file for place in classes for file in files_of(place)]
    return from_files(NAME, folder, files, lambda file: _candidate(folder, file))


def _candidate(folder: Path, file: Path) -> Candidate:
    class_name = file.parent.name.upper()
    label = CLASSES.get(class_name)
    if label is None:
        raise Unfit("bad_label", f"the folder {file.parent.name} is none of {', '.join(CLASSES)}")
    match = _FILE_NAME.fullmatch(file.stem)
    if match is None:
        raise Unfit(
            "bad_row",
            "the file's name has no form <CLASS>-<patient>-<number>, so its patient is unknown",
        )
    if match["label"].upper() != class_name:
        raise Unfit("bad_label", f"the file's name says {match['label'].upper()}, its folder {class_name}")
    return Candidate(
        name=below(folder, file), file=file, labels=(label,), patient=f"{NAME}:{match['patient']}"
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.OCT,
    layout="OCT2017/train/{CNV,DME,DRUSEN,NORMAL}/<CLASS>-<patient>-<n>.jpeg (or CellData/OCT/train/...)",
    find=find,
    read=read,
)
