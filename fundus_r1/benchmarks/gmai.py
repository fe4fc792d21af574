"""GMAI-MMBench (Ye et al., NeurIPS 2024), of which the paper keeps the fundus part: GMAI-Fundus.

Layout, as published for VLMEvalKit: ``GMAI-MMBench_VAL.tsv`` with the columns ``index``, ``image``
(a base64 picture, or the index of the row that holds the same one), ``question``, ``A`` ... ``E``,
``answer`` (a letter), ``category``, ``clinical vqa task``, ``department``, and in some copies
``modality``, ``original task`` and ``image_path``. Pictures are read where they lie in the table. The
parts called TEST carry no answers, so they cannot be scored here and are not looked at.

The authors publish no list of fundus questions, and neither does the paper. Kept are the five tasks of
the paper's Tab. 5, in the department of ophthalmology, where the modality or the row's texts speak of a
fundus photograph, the retina or OCT. If that is the paper's choice, AR and NT have 150 questions each and
BVR has 75, of which Tab. 5's percentages are multiples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fundus_r1.benchmarks.question import Place, RawQuestion, folders, patient_of, unique
from fundus_r1.pictures import Span
from fundus_r1.rows import Modality

NAME = "gmai"

TASKS = {
    "attribute recognition": "AR",
    "nervous tissue": "NT",
    "blood vessels recognition": "BVR",
    "disease diagnosis": "DD",
    "severity grading": "SG",
}
"""Clinical VQA task -> the paper's abbreviation, which some copies have in its place."""

_FILE = re.compile(r"GMAI[-_]?mm[-_]?bench[-_]VAL.*\.tsv", re.IGNORECASE)
_COLUMNS = ("index", "image", "question", "A", "B", "answer", "clinical vqa task", "department")
_CELL = re.compile(rb'(?:"((?:[^"]|"")*)"|([^\t]*))(\t|\Z)')
_REFERENCE = 64
"""A cell that is no longer than this names another row; no picture is so small (VLMEvalKit's rule)."""
_MODALITIES = (
    (re.compile(r"ultra-?\s?wide-?\s?field|\bUWF\b", re.IGNORECASE), Modality.UWF),
    (re.compile(r"\bOCT\b|optical coherence tomograph", re.IGNORECASE), Modality.OCT),
    (re.compile(r"fundus|\bCFP\b|retina", re.IGNORECASE), Modality.CFP),
)


@dataclass(frozen=True)
class _Row:
    texts: dict[str, str]
    """Column -> cell, without the picture; names of more than one letter in lower case."""
    image: Span
    reference: str
    """The row whose picture this one shows, if it has none itself."""


def modality_of(text: str) -> Modality | None:
    """The modality that a text speaks of; None if it speaks of no fundus."""
    return next((modality for pattern, modality in _MODALITIES if pattern.search(text)), None)


def load(root: Path) -> list[RawQuestion]:
    """The questions of GMAI-Fundus below a folder; see `benchmarks.load_benchmark`."""
    questions = []
    for folder in folders(root):
        for file in sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name)):
            questions += _read(file)
    return unique(questions)


def _read(file: Path) -> list[RawQuestion]:
    images: dict[str, Span] = {}
    rows = []
    for row in _rows(file):
        if not row.reference:
            images[row.texts["index"]] = row.image
        task = _task(row.texts["clinical vqa task"])
        if task is not None and row.texts["department"].casefold() == "ophthalmology":
            rows.append((row, task))
    questions = (_question(row, task, images, file) for row, task in rows)
    return [question for question in questions if question is not None]


def _task(name: str) -> str | None:
    plain = " ".join(re.findall(r"[a-z]+", name.casefold()))
    plain = plain.removesuffix(" recognition") if plain.startswith("nervous") else plain
    return TASKS.get(plain) or (plain.upper() if plain.upper() in TASKS.values() else None)


def _question(row: _Row, task: str, images: dict[str, Span], file: Path) -> RawQuestion | None:
    texts = row.texts
    place = Place(file, texts["index"])
    options = {letter: texts[letter] for letter in "ABCDE" if texts.get(letter)}
    told = [texts.get(name, "") for name in ("question", "category", "original task")]
    modality = modality_of(texts.get("modality") or " ".join([*told, *options.values()]))
    if modality is None:
        return None
    if len(options) < 2:
        place.refuse("A question has fewer than two options", "A", "download the file again")
    if texts["answer"] not in options:
        place.refuse(
            f"The right answer {texts['answer']!r} is none of the letters {', '.join(options)}",
            "answer", "use GMAI-MMBench_VAL.tsv as published; the TEST parts carry no answers",
        )  # fmt: skip
    image = images.get(row.reference, row.image) if row.reference else row.image
    if image.length <= _REFERENCE:
        place.refuse("A question has no picture", "image", "download the file again")
    name = texts.get("image_path") or f"{file.name}#{row.reference or texts['index']}"
    return RawQuestion(
        question_id=place.text(texts, "index"),
        benchmark=NAME,
        task=task,
        subtask=texts.get("original task") or texts.get("category", ""),
        question=place.text(texts, "question"),
        options=options,
        answers=(texts["answer"],),
        modality=modality,
        image=name,
        patient=patient_of(name),
        file=image,
    )


def _rows(file: Path) -> Iterator[_Row]:
    """The table's rows, one at a time: with its pictures it is larger than a small machine's memory."""
    place = Place(file)
    lines = _lines(file)
    header = [cell.decode("utf-8-sig").strip() for cell, _ in _cells(next(lines, (0, b""))[1])]
    names = [name if len(name) == 1 else name.casefold() for name in header]
    lacking = [name for name in _COLUMNS if name not in names]
    if lacking:
        place.refuse(
            f"A table of GMAI-MMBench lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}",
            "header", "use GMAI-MMBench_VAL.tsv as published",
        )  # fmt: skip
    for number, (start, line) in enumerate(lines, start=1):
        cells = list(_cells(line))
        if len(cells) != len(names):
            place.refuse(
                f"Row {number} has {len(cells)} cells, the header {len(names)}",
                "", "download the file again; half a download looks like this",
            )  # fmt: skip
        image, at = cells[names.index("image")]
        try:
            texts = {
                name: cell.decode().strip()
                for name, (cell, _) in zip(names, cells, strict=True)
                if name != "image"
            }
        except UnicodeDecodeError as error:
            place.refuse(f"Row {number} is no UTF-8: {error}", "", "download the file again")
        yield _Row(
            texts=texts,
            image=Span(file, start + at, len(image), base64=True),
            reference=image.decode(errors="replace").strip() if len(image) <= _REFERENCE else "",
        )


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Rows with the byte at which they start; a quoted cell may hold line breaks."""
    try:
        with file.open("rb") as table:
            start, row = 0, b""
            for line in table:
                row += line
                if row.count(b'"') % 2 == 0:
                    if row.strip():
                        yield start, row.rstrip(b"\r\n")
                    start, row = start + len(row), b""
            if row:
                yield start, row
    except OSError as error:
        Place(file).refuse(
            f"A benchmark file cannot be read: {error.strerror}", "", "check that it may be read"
        )


def _cells(row: bytes) -> Iterator[tuple[bytes, int]]:
    """Cells of a row, unquoted, and where each starts in it."""
    for match in _CELL.finditer(row):
        quoted = match[1] is not None
        yield (match[1].replace(b'""', b'"') if quoted else match[2]), match.start(1 if quoted else 2)
        if not match[3]:
            return
