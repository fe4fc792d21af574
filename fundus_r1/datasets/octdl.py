"""OCTDL: OCT B-scans in a folder a class, with a table that names the patients.

``OCTDL_labels.csv`` (in the authors' code ``labels.csv``) stands beside the folders ``AMD``, ``DME``,
``ERM``, ``NO``, ``RAO``, ``RVO``, ``VID``; its columns ``file_name`` (without extension), ``disease`` and
``patient_id`` are read, further ones kept as attributes. The authors split by patient at random, without
a published list, so all is training data.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_table
from fundus_r1.datasets.folders import below, entries, plain_name, search
from fundus_r1.datasets.labelled import Table, Unfit, codes, eye_of, files_below, files_by_stem, from_table
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality

NAME = "octdl"
CLASSES = codes("octdl_disease")
_TABLES = ("octdl labels csv", "labels csv")
_COLUMNS = ("file_name", "disease", "patient_id")
_ATTRIBUTES = ("subcategory", "condition", "sex", "age", "year")


def find(root: Path) -> list[Path]:
    """Folders with a table whose header is OCTDL's."""

    def matches(folder: Path, _folders: list[str], files: list[str]) -> bool:
        table = _table(folder, files)
        if table is None:
            return False
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            header = {name.strip().casefold() for name in file.readline(1000).split(",")}
        return header >= {*_COLUMNS}

    return search(root, matches)


def _table(folder: Path, files: list[str]) -> Path | None:
    return next((folder / name for name in files if plain_name(name) in _TABLES), None)


def read(folder: Path) -> Reading:
    """All B-scans of the table, and those that no row names."""
    table = _table(folder, entries(folder)[1])
    if table is None:
        raise DataError("OCTDL lacks its table", where=str(folder), hint="it is called OCTDL_labels.csv")
    files = files_by_stem(file for file in files_below(folder) if file != table)
    rows = Table(table.name, read_table(table, _COLUMNS), "file_name")
    return from_table(NAME, folder, rows, folder, files, lambda file, row: _candidate(folder, file, row))


def _candidate(folder: Path, file: Path, row: dict[str, str]) -> Candidate:
    if not row["patient_id"]:
        raise Unfit("bad_row", "names no patient")
    if not row["disease"]:
        raise Unfit("unlabelled", "names no disease")
    label = CLASSES.get(plain_name(row["disease"]))
    if label is None:
        raise Unfit("bad_label", f"has the disease {row['disease']}, none of {', '.join(CLASSES).upper()}")
    if CLASSES.get(plain_name(file.parent.name), label) != label:
        raise Unfit("bad_label", f"has the disease {row['disease']}, its folder is {file.parent.name}")
    return Candidate(
        name=below(folder, file),
        file=file,
        labels=(label,),
        patient=f"{NAME}:{row['patient_id']}",
        eye=eye_of(row.get("eye", "")),
        attributes={key: row[key] for key in _ATTRIBUTES if row.get(key)},
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.OCT,
    layout="OCTDL_labels.csv (file_name,disease,patient_id,...) beside {AMD,DME,ERM,NO,RAO,RVO,VID}/",
    find=find,
    read=read,
)
