"""GRAPE: colour photos of eyes with glaucoma over several visits, and whether the visual field progressed.

``CFPs/<subject>_{OD,OS}_<visit>.jpg`` beside ``VF and clinical information.xlsx``, whose sheet ``Baseline``
has a row an eye under two rows of headers: ``Subject Number``, ``Laterality``, ``Category of Glaucoma``,
and under ``Progression Status`` the criteria ``PLR2``, ``PLR3`` and ``MD``, 0 or 1. An eye's status is the
label of its photos at all visits. Which criterion the paper takes is not published; PLR2 is taken here,
and all three are attributes. There is no official split.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, whole_number
from fundus_r1.datasets.folders import below, child, plain_name, search
from fundus_r1.datasets.labelled import Unfit, demand, eye_of, files_of, from_files
from fundus_r1.datasets.xlsx import read_sheet
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality

NAME = "grape"
PHOTOS, SHEET = "CFPs", "Baseline"
CRITERIA = ("plr2", "plr3", "md")
CRITERION = "plr2"
LABELS = ("stable_glaucoma", "progressive_glaucoma")
_TABLE = "vf and clinical information"
_SUBJECT, _EYE, _CATEGORY, _PROGRESSION = (
    "subject number",
    "laterality",
    "category of glaucoma",
    "progression status",
)
_PHOTO = re.compile(r"(?P<subject>\d+)_(?P<eye>OD|OS)(?:_(?P<visit>\d+))?", re.IGNORECASE)


def find(root: Path) -> list[Path]:
    """Folders with ``CFPs`` and the workbook."""

    def matches(folder: Path, _folders: list[str], files: list[str]) -> bool:
        return _table(folder, files) is not None and child(folder, PHOTOS) is not None

    return search(root, matches)


def _table(folder: Path, files: list[str]) -> Path | None:
    return next((folder / name for name in files if plain_name(name) == f"{_TABLE} xlsx"), None)


def read(folder: Path) -> Reading:
    """All photos whose eye has a status."""
    table = _table(folder, [file.name for file in files_of(folder)])
    if table is None:
        raise DataError(
            "GRAPE lacks its workbook",
            where=str(folder),
            hint="it is called 'VF and clinical information.xlsx'",
        )
    eyes = _eyes(table)
    photos = files_of(demand(NAME, folder, PHOTOS))
    return from_files(NAME, folder, photos, lambda file: _candidate(folder, file, eyes))


def _candidate(folder: Path, file: Path, eyes: dict[tuple[str, str], dict[str, str]]) -> Candidate:
    photo = _PHOTO.fullmatch(file.stem)
    if photo is None:
        raise Unfit("bad_row", "the name has no form <subject>_<OD or OS>_<visit>")
    subject, eye = str(int(photo["subject"])), eye_of(photo["eye"])
    row = eyes.get((subject, eye))
    if row is None:
        raise Unfit("unlabelled", f"the sheet {SHEET} has no row for the {eye} eye of subject {subject}")
    status = whole_number(row[CRITERION], range(2))
    if status is None:
        value = row[CRITERION] or "(empty)"
        raise Unfit(
            "bad_label" if row[CRITERION] else "unlabelled",
            f"{CRITERION.upper()} of its eye is {value}, neither 0 nor 1",
        )
    told = {"visit": photo["visit"] or "", **{f"progression_{name}": row[name] for name in CRITERIA}}
    told["glaucoma_category"] = row[_CATEGORY]
    return Candidate(
        name=below(folder, file),
        file=file,
        labels=(LABELS[status],),
        patient=f"{NAME}:{subject}",
        eye=eye,
        attributes={name: value for name, value in told.items() if value},
    )


def _eyes(table: Path) -> dict[tuple[str, str], dict[str, str]]:
    """(subject, eye) -> its row of the baseline."""
    lines = read_sheet(table, SHEET)
    columns = _columns(table, lines[:2])
    eyes: dict[tuple[str, str], dict[str, str]] = {}
    for line in lines[2:]:
        row = {name: line[place] if place < len(line) else "" for name, place in columns.items()}
        subject = whole_number(row[_SUBJECT], range(1, 1_000_000))
        if subject is not None:
            eyes[str(subject), eye_of(row[_EYE])] = row
    return eyes


def _columns(table: Path, header: list[list[str]]) -> dict[str, int]:
    """Places of the columns; a cell of the first row may span several of the second."""
    upper, lower = ([plain_name(cell) for cell in line] for line in [*header, [], []][:2])
    found: dict[str, int] = {}
    group = ""
    for place in range(max(len(upper), len(lower))):
        above = upper[place] if place < len(upper) else ""
        name = lower[place] if place < len(lower) else ""
        group = above or group
        if group == _PROGRESSION and name in CRITERIA:
            found.setdefault(name, place)
        for wanted in (_SUBJECT, _EYE, _CATEGORY):
            if wanted in (above, name):
                found.setdefault(wanted, place)
    if lacking := [name for name in (_SUBJECT, _EYE, _CATEGORY, *CRITERIA) if name not in found]:
        raise DataError(
            f"The sheet {SHEET} lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}",
            where=str(table),
            hint="use the workbook that the dataset's authors published",
        )
    return found


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="CFPs/<subject>_{OD,OS}_<visit>.jpg beside 'VF and clinical information.xlsx'",
    find=find,
    read=read,
)
