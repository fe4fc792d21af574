"""OIA-ODIR: colour photos of both eyes of a patient, with diagnoses in words.

The official archive has ``Training Set/Images/<id>_{left,right}.jpg`` and an Excel table in ``Training
Set/Annotation``; Kaggle's has ``full_df.csv`` (a line an eye, so each patient stands there twice) and
``preprocessed_images``. A row is a patient: two file names, the diagnostic keywords of each eye, joined by
the full-width comma, and the flags N, D, G, C, A, H, M, O of the patient. So an eye's labels come from its
own keywords. The flags say whether a keyword that names none of the seven is an abnormality (O) or a
remark, such as ``lens dust``; keywords that contradict the flags are no label. The two test sets are
held out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fundus_r1.datasets.adapter import Adapter, Candidate, Reading, read_table, stem, whole_number
from fundus_r1.datasets.folders import below, child, entries, plain_name, search
from fundus_r1.datasets.labelled import (
    Table,
    Unfit,
    demand,
    eye_of,
    files_below,
    files_by_stem,
    files_of,
    from_table,
)
from fundus_r1.datasets.xlsx import read_sheet
from fundus_r1.errors import DataError
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Modality

NAME = "odir"
LABELS = TASKS["odir_disease"].codes
"""Flag -> canonical label."""
TRAINING = "Training Set"
TESTING = ("Off-site Test Set", "On-site Test Set")
EYES = ("left", "right")
_COLUMNS = tuple(f"{eye}-{what}" for eye in EYES for what in ("fundus", "diagnostic keywords"))
_WORDS = (
    (re.compile(r"no fundus image|anterior segment"), None),
    (re.compile(r"hypertensive"), "H"),
    (re.compile(r"diabetic|proliferative"), "D"),
    (re.compile(r"glaucoma"), "G"),
    (re.compile(r"cataract"), "C"),
    (re.compile(r"age-? ?related macular degeneration"), "A"),
    (re.compile(r"myopi[ac]"), "M"),
    (re.compile(r"^normal fundus$"), "N"),
    (re.compile(r"lens dust|low image quality|image offset|photographically invisible"), ""),
)
"""What a keyword says: a flag; an empty text for a remark on the photo; None for what is no fundus photo."""


@dataclass(frozen=True)
class _Layout:
    table: Path
    images: list[Path]
    at: Path
    """Where an image is missing."""
    testing: list[Path]


def find(root: Path) -> list[Path]:
    """Folders with ``Training Set/Annotation``, or with ``full_df.csv`` and ``preprocessed_images``."""

    def matches(folder: Path, folders: list[str], files: list[str]) -> bool:
        training = child(folder, TRAINING) if TRAINING.casefold() in map(plain_name, folders) else None
        if training is not None and child(training, "Annotation") is not None:
            return True
        return _kaggle_table(folder, files) is not None and child(folder, "preprocessed images") is not None

    return search(root, matches)


def read(folder: Path) -> Reading:
    """Both eyes of every patient of the training set."""
    layout = _official(folder) if child(folder, TRAINING) is not None else _kaggle(folder)
    rows = (
        _workbook_rows(layout.table)
        if layout.table.suffix.casefold() == ".xlsx"
        else read_table(layout.table, _COLUMNS)
    )
    eyes = Table(layout.table.name, _eyes(rows), "image")
    reading = from_table(
        NAME,
        folder,
        eyes,
        layout.at,
        files_by_stem(layout.images),
        lambda file, row: _candidate(folder, file, row),
    )
    reading.held_out.extend(layout.testing)
    return reading


def _official(folder: Path) -> _Layout:
    training = demand(NAME, folder, TRAINING)
    images, annotation = demand(NAME, training, "Images"), demand(NAME, training, "Annotation")
    books = [file for file in files_of(annotation) if file.suffix.casefold() == ".xlsx"]
    # The tables in Chinese have Chinese keywords.
    books.sort(key=lambda file: "english" not in file.name.casefold())
    if not books:
        raise DataError(
            "OIA-ODIR lacks the table of its training set",
            where=str(annotation),
            hint="it is called 'training annotation (English).xlsx'",
        )
    testing = [child(part, "Images") for name in TESTING if (part := child(folder, name)) is not None]
    return _Layout(books[0], files_of(images), images, [file for part in testing for file in files_of(part)])


def _kaggle(folder: Path) -> _Layout:
    table = _kaggle_table(folder, entries(folder)[1])
    images = demand(NAME, folder, "preprocessed images")
    if table is None:
        raise DataError("OIA-ODIR lacks its table", where=str(folder), hint="it is called full_df.csv")
    return _Layout(table, files_below(images), images, [])


def _kaggle_table(folder: Path, files: list[str]) -> Path | None:
    return next((folder / name for name in files if name.casefold() == "full_df.csv"), None)


def _workbook_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    lines = read_sheet(path)
    header = [name.casefold() for name in lines[0]] if lines else []
    if lacking := [name for name in _COLUMNS if name not in header]:
        raise DataError(
            f"A table lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}",
            where=str(path),
            hint="use the English table that the dataset's authors published",
        )
    rows = [(number, dict(zip(header, line, strict=False))) for number, line in enumerate(lines[1:], start=2)]
    return [(number, row) for number, row in rows if any(row.values())]


def _eyes(rows: list[tuple[int, dict[str, str]]]) -> list[tuple[int, dict[str, str]]]:
    """A row an eye; a patient's row that only repeats another's is left out."""
    eyes: dict[tuple[str, ...], tuple[int, dict[str, str]]] = {}
    for line, row in rows:
        for eye in EYES:
            made = {
                "image": row.get(f"{eye}-fundus", ""),
                "keywords": row.get(f"{eye}-diagnostic keywords", ""),
                "patient": row.get("id", ""),
                "age": row.get("patient age", ""),
                "sex": row.get("patient sex", ""),
                **{flag: row.get(flag.casefold(), "") for flag in LABELS},
            }
            eyes.setdefault(tuple(made.values()), (line, made))
    return list(eyes.values())


def _candidate(folder: Path, file: Path, row: dict[str, str]) -> Candidate:
    name, _, eye = file.stem.rpartition("_")
    flags = {flag for flag in LABELS if whole_number(row[flag], range(1, 2))}
    return Candidate(
        name=below(folder, file),
        file=file,
        labels=tuple(LABELS[flag] for flag in LABELS if flag in _flags_of(row["keywords"], flags)),
        patient=f"{NAME}:{row['patient'] or stem(name)}",
        eye=eye_of(eye),
        attributes={key: row[key] for key in ("age", "sex") if row[key]},
    )


def _flags_of(keywords: str, patient: set[str]) -> set[str]:
    """Flags of one eye, from its keywords and the flags of the patient."""
    words = [word.strip().casefold() for word in re.split(r"[，,]", keywords) if word.strip()]
    if not words:
        raise Unfit("unlabelled", "has no keywords for this eye")
    found = set()
    for word in words:
        flag = next((flag for pattern, flag in _WORDS if pattern.search(word)), "O")
        if flag is None:
            raise Unfit("unlabelled", f"says {word!r}: it is no photo of the fundus")
        if flag == "O" and "O" not in patient:
            flag = ""
        if flag not in ("", "N") and flag not in patient:
            raise Unfit("bad_label", f"says {word!r}, which the flags of the patient deny")
        found.add(flag)
    found.discard("")
    if len(found) > 1:
        found.discard("N")
    if not found:
        raise Unfit("unlabelled", f"says only {keywords!r} of this eye")
    return found


ADAPTER = Adapter(
    name=NAME,
    modality=Modality.CFP,
    layout="Training Set/{Images,Annotation/training annotation (English).xlsx} "
    "(or full_df.csv beside preprocessed_images)",
    find=find,
    read=read,
)
