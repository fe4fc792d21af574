"""TOP (Tsukazaki Optos Public), ultra-widefield: ``data.csv`` beside ``img/``.

Columns ``filename,ID,age,sex,LR,AMD,RVO,Gla,MH,DR,RD,RP,AO,DM``: nine flags, of which DM (diabetes
mellitus) is about the patient and not the eye; an eye without any flag is normal. A patient (ID)
has several photos, often of both eyes and years apart, so only a split by patient is clean. There
is no official split.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_table, whole_number
from fundus_r1.datasets.folders import below, child, entries, search
from fundus_r1.datasets.labelled import Table, Unfit, eye_of, files_by_stem, files_of, from_table
from fundus_r1.rows import Modality

NAME = "top"
FLAGS = {
    "amd": "amd",
    "rvo": "rvo",
    "gla": "glaucoma",
    "mh": "macular_hole",
    "dr": "diabetic_retinopathy",
    "rd": "retinal_detachment",
    "rp": "retinitis_pigmentosa",
    "ao": "artery_occlusion",
}
"""Column in lower case -> canonical label."""
DIABETES = "dm"
_COLUMNS = ("filename", "id", "lr", *FLAGS, DIABETES)


def find(root: Path) -> list[Path]:
    """Folders with a ``data.csv`` whose header is TOP's in the main, and ``img/``."""

    def matches(folder: Path, folders: list[str], files: list[str]) -> bool:
        table = _table(folder, files)
        if table is None or "img" not in map(str.casefold, folders):
            return False
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            header = {name.strip().casefold() for name in file.readline(1000).split(",")}
        return "filename" in header and len(header & FLAGS.keys()) > len(FLAGS) // 2

    return search(root, matches)


def _table(folder: Path, files: list[str]) -> Path | None:
    return next((folder / name for name in files if name.casefold() == "data.csv"), None)


def read(folder: Path) -> Reading:
    """All rows of the table, and the images that no row names."""
    table, images = _table(folder, entries(folder)[1]), child(folder, "img")
    if table is None or images is None:
        return Reading([], [])
    rows = Table(table.name, read_table(table, _COLUMNS), "filename")
    files = files_by_stem(files_of(images))
    return from_table(NAME, folder, rows, images, files, lambda file, row: _candidate(folder, file, row))


def _candidate(folder: Path, file: Path, row: dict[str, str]) -> Candidate:
    if not row["id"]:
        raise Unfit("bad_row", "names no patient")
    flags = {column: whole_number(row[column], range(2)) for column in (*FLAGS, DIABETES)}
    if empty := [column for column in flags if not row[column]]:
        raise Unfit("unlabelled", f"has no value for {', '.join(empty)}")
    if wrong := [f"{column} = {row[column]}" for column, value in flags.items() if value is None]:
        raise Unfit("bad_label", f"says {', '.join(wrong)}, which is neither 0 nor 1")
    told = {name: row[name] for name in ("age", "sex") if row.get(name)}
    return Candidate(
        name=below(folder, file),
        file=file,
        labels=tuple(label for column, label in FLAGS.items() if flags[column]) or ("normal",),
        patient=f"{NAME}:{row['id']}",
        eye=eye_of(row["lr"]),
        attributes={**told, "diabetes_mellitus": "yes" if flags[DIABETES] else "no"},
    )


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.UWF,
    layout="data.csv (filename,ID,age,sex,LR,AMD,RVO,Gla,MH,DR,RD,RP,AO,DM) beside img/",
    find=find,
    read=read,
)
