"""NEH (Noor Eye Hospital): OCT B-scans in folders of the patients of three classes.

``{NORMAL,DRUSEN,CNV}/<patient>/[OD|OS/]<n>_{Normal,Drusen,Cnv}.<jpg|tif>``. The folder is the patient's
diagnosis; a B-scan's own label is the ending of its name, since many B-scans of an eye with drusen or CNV
are normal. ``data_information.csv`` says the same once more, with duplicate rows and paths in another
case, and is not needed. The same picture stands in it under patients of two classes; labels that
contradict each other so are found when the pixels are compared. There is no official split.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import Unfit, codes, eye_of, files_below, from_files
from fundus_r1.rows import Modality

NAME = "neh"
CLASSES = codes("neh_disease")
"""Class in lower case -> canonical label."""
_ENDING = re.compile(r".*[_ -](?P<label>[A-Za-z]+)")


def find(root: Path) -> list[Path]:
    """Folders with a folder a class that holds folders of patients, not files as in Kermany's set."""

    def matches(folder: Path, folders: list[str], _files: list[str]) -> bool:
        there = {plain_name(name): name for name in folders}
        return there.keys() >= CLASSES.keys() and all(entries(folder / there[name])[0] for name in CLASSES)

    return search(root, matches)


def read(folder: Path) -> Reading:
    """All B-scans."""
    files = [file for name in CLASSES for file in files_below(child(folder, name))]
    return from_files(NAME, folder, files, lambda file: _candidate(folder, file))


def _candidate(folder: Path, file: Path) -> Candidate:
    diagnosis, *places = file.relative_to(folder).parts[:-1]
    if not places:
        raise Unfit("bad_row", "the picture lies in no patient's folder")
    ending = _ENDING.fullmatch(file.stem)
    label = CLASSES.get(plain_name(ending["label"])) if ending else None
    if label is None:
        raise Unfit("bad_label", f"the name ends with none of {', '.join(CLASSES)}")
    return Candidate(
        name=below(folder, file),
        file=file,
        labels=(label,),
        patient=f"{NAME}:{diagnosis}/{places[0]}",
        eye=eye_of(places[1]) if len(places) > 1 else "",
        attributes={"patient_diagnosis": CLASSES[plain_name(diagnosis)]},
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.OCT,
    layout="{NORMAL,DRUSEN,CNV}/<patient>/[OD|OS/]<n>_{Normal,Drusen,Cnv}.<jpg|tif>",
    find=find,
    read=read,
)
