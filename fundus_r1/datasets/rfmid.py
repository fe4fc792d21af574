"""RFMiD: colour photos with 45 codes, any number of which an eye may have.

``1. Original Images/{a. Training,b. Validation,c. Testing} Set/<ID>.png`` and, in ``2. Groundtruths``,
``{a,b}. RFMiD_{Training,Validation}_Labels.csv`` with the columns ``ID``, ``Disease_Risk`` and the codes.
IDs begin anew in each set. Without a code an eye is normal if ``Disease_Risk`` is 0 too. The testing set
is held out. No patients are named: each image stands for one.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_table, whole_number
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import Table, Unfit, demand, files_by_stem, files_of, from_table, joined
from fundus_r1.errors import DataError
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Modality

NAME = "rfmid"
IMAGES, TABLES = "1. Original Images", "2. Groundtruths"
PARTS = {"a. Training Set": "training", "b. Validation Set": "validation"}
"""Folder of images -> word in the name of its table."""
TESTING = "c. Testing Set"
RISK = "disease_risk"
CODES = {
    code.casefold(): label for code, label in TASKS["rfmid_disease"].codes.items() if code != "Disease_Risk=0"
}
"""Column in lower case -> canonical label."""


def find(root: Path) -> list[Path]:
    """Folders with images and RFMiD's tables; IDRiD's folders have the same names."""

    def matches(folder: Path, folders: list[str], _files: list[str]) -> bool:
        there = set(map(plain_name, folders))
        tables = child(folder, TABLES) if there >= {plain_name(IMAGES), plain_name(TABLES)} else None
        return tables is not None and any("rfmid" in name.casefold() for name in entries(tables)[1])

    return search(root, matches)


def read(folder: Path) -> Reading:
    """The photos of training and validation."""
    images, tables = demand(NAME, folder, IMAGES), demand(NAME, folder, TABLES)
    reading = joined(_part(folder, demand(NAME, images, part), tables, word) for part, word in PARTS.items())
    reading.held_out.extend(files_of(child(images, TESTING)))
    return reading


def _part(folder: Path, images: Path, tables: Path, word: str) -> Reading:
    table = next((file for file in files_of(tables) if word in plain_name(file.name).split()), None)
    if table is None:
        raise DataError(
            f"RFMiD lacks the table of its {word} set",
            where=str(tables),
            hint=f"it is called like 'a. RFMiD_{word.title()}_Labels.csv'",
        )
    rows = Table(table.name, read_table(table, ("id", RISK, *CODES)), "id")
    files = files_by_stem(files_of(images))
    return from_table(NAME, folder, rows, images, files, lambda file, row: _candidate(folder, file, row))


def _candidate(folder: Path, file: Path, row: dict[str, str]) -> Candidate:
    flags = {code: whole_number(row[code], range(2)) for code in (RISK, *CODES)}
    if wrong := [f"{code} = {row[code] or '(empty)'}" for code, flag in flags.items() if flag is None]:
        raise Unfit("bad_label", f"says {', '.join(wrong)}, which is neither 0 nor 1")
    labels = tuple(label for code, label in CODES.items() if flags[code])
    if labels and not flags[RISK]:
        raise Unfit("bad_label", "names a disease and says that there is no risk of one")
    if not labels and flags[RISK]:
        raise Unfit("unlabelled", "names no disease and says that there is a risk of one")
    return Candidate(
        name=below(folder, file),
        file=file,
        labels=labels or ("normal",),
        patient=f"{NAME}:{below(folder, file)}",
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="1. Original Images/{a. Training,b. Validation} Set/ and 2. Groundtruths/*RFMiD*_Labels.csv",
    find=find,
    read=read,
)
