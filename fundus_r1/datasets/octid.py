"""OCTID: OCT B-scans whose names say their class, ``NORMAL12.jpeg``, ``AMRD3.jpeg``, ``CSR91.jpeg``.

The authors write ``AMRD`` for age-related macular degeneration. All files lie in one folder, or in one
folder a class. No patients are named: each image stands for one. There is no official split.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading
from fundus_r1.datasets.folders import below, entries, plain_name, search
from fundus_r1.datasets.labelled import Unfit, codes, files_below, from_files
from fundus_r1.rows import Modality

NAME = "octid"
CLASSES = codes("octid_disease")
_NAME = re.compile(r"(?P<label>[A-Z]+)[ _]?\(?\d+\)?", re.IGNORECASE)
_OWN = frozenset({"amrd", "csr"})
"""Classes that no other dataset spells so."""


def find(root: Path) -> list[Path]:
    """Folders called ``OCTID``, and those whose files are named by two classes, of which one is OCTID's."""

    def matches(folder: Path, folders: list[str], files: list[str]) -> bool:
        if plain_name(folder.name) == NAME and (folders or files):
            return True
        seen = {_class(name) for name in files} & CLASSES.keys()
        for inner in folders:
            if plain_name(inner) in CLASSES:
                seen |= {_class(name) for name in entries(folder / inner)[1][:1]} & CLASSES.keys()
        return len(seen) > 1 and bool(seen & _OWN)

    return search(root, matches)


def _class(name: str) -> str:
    match = _NAME.fullmatch(Path(name).stem)
    return match["label"].casefold() if match else ""


def read(folder: Path) -> Reading:
    """All B-scans."""
    return from_files(NAME, folder, files_below(folder), lambda file: _candidate(folder, file))


def _candidate(folder: Path, file: Path) -> Candidate:
    label = CLASSES.get(_class(file.name))
    if label is None:
        raise Unfit("bad_label", f"the name begins with none of {', '.join(CLASSES).upper()}")
    return Candidate(
        name=below(folder, file), file=file, labels=(label,), patient=f"{NAME}:{file.stem.casefold()}"
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.OCT,
    layout="{NORMAL,AMRD,CSR,DR,MH}<n>.jpeg in one folder, or in one a class",
    find=find,
    read=read,
)
