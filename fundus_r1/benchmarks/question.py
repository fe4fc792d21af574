"""One benchmark question as it is read from disk, and what its readers share.

A reader takes a benchmark as its authors publish it and refuses what it cannot understand: a
score over a part of a benchmark that was silently left out compares with nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from fundus_r1.errors import DataError
from fundus_r1.pictures import Source
from fundus_r1.rows import Modality, Question

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

DEPTH = 4
"""How many folders below the given one a benchmark may begin."""

_KERMANY = re.compile(r"(?:CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+\.jpe?g", re.IGNORECASE)


@dataclass(frozen=True)
class RawQuestion:
    """A `rows.Question` before its image has been read; the fields have the same meaning."""

    question_id: str
    benchmark: str
    task: str
    subtask: str
    question: str
    options: dict[str, str]
    answers: tuple[str, ...]
    modality: Modality | None
    image: str
    patient: str | None
    file: Source
    """Where the image lies."""

    def row(
        self,
        source: Literal["synthetic", "given"],
        *,
        digest: str,
        pixels: str,
        media_type: Literal["image/png", "image/jpeg"],
    ) -> Question:
        """The persisted row, once the image is known; see `rows.Question` for the arguments."""
        return Question(
            question_id=self.question_id,
            benchmark=self.benchmark,
            source=source,
            task=self.task,
            subtask=self.subtask,
            question=self.question,
            options=self.options,
            answers=self.answers,
            modality=self.modality,
            image=self.image,
            digest=digest,
            pixels=pixels,
            patient=self.patient,
            media_type=media_type,
        )


@dataclass(frozen=True)
class Place:
    """Where in a benchmark something stands, for errors."""

    file: Path
    question: str = ""

    def refuse(self, what: str, field: str, hint: str) -> NoReturn:
        where = [str(self.file)]
        if self.question:
            where.append(f"question {self.question}")
        if field:
            where.append(f"field {field}")
        raise DataError(what, where=", ".join(where), hint=hint)

    def text(self, item: dict[str, Any], field: str) -> str:
        """A field that must be there and hold text."""
        value = item.get(field)
        if not isinstance(value, str) or not value.strip():
            self.refuse(
                f"A benchmark question has no {field}" if field not in item
                else f"The {field} of a benchmark question is {value!r}, not a text",
                field, "the file is damaged or not the published one: download it again",
            )  # fmt: skip
        return value.strip()

    def letter(self, answer: str, options: dict[str, str], field: str) -> str:
        """The letter of the option that an answer's text is."""
        wanted = _plain(answer)
        found = next((letter for letter, text in options.items() if _plain(text) == wanted), None)
        if found is None:
            self.refuse(
                f"The right answer {answer!r} is none of the options {list(options.values())}",
                field, "correct the answer or the options in the file, or download it again",
            )  # fmt: skip
        return found

    def image(self, name: str, candidates: list[Path]) -> Path:
        """The first of the files that is there."""
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            tried = ", ".join(str(path) for path in dict.fromkeys(candidates))
            self.refuse(
                f"The image {name} is not there", "image",
                f"put the image in one of the places that were tried: {tried}",
            )  # fmt: skip
        return found


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def read_json(path: Path) -> Any:
    """The content of a benchmark's JSON file.

    Raises:
        DataError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        Place(path).refuse(
            f"A benchmark file cannot be read: {error.strerror}", "", "check that it may be read"
        )
    except UnicodeDecodeError as error:
        Place(path).refuse(f"A benchmark file is no UTF-8: {error}", "", "download the file again")
    except json.JSONDecodeError as error:
        Place(path).refuse(
            f"A benchmark file is no JSON: {error}", "",
            "download the file again; a Git LFS pointer or half a download looks like this",
        )  # fmt: skip


def folders(root: Path) -> Iterator[Path]:
    """`root` and the folders below it, `DEPTH` levels deep, in a stable order."""
    root = Path(root)
    for place, names, _ in os.walk(root):
        here = Path(place)
        yield here
        deep = len(here.relative_to(root).parts) >= DEPTH
        names[:] = [] if deep else sorted(name for name in names if not name.startswith("."))


def patient_of(image: str) -> str | None:
    """The patient in the naming of `Sample.patient`, where the file name tells it.

    Only the names of the UCSD set (Kermany et al., 2018) do: ``CNV-<patient>-<n>.jpeg``.
    """
    match = _KERMANY.fullmatch(image.rsplit("/", 1)[-1])
    return f"kermany:{match[1]}" if match else None


def unique(questions: list[RawQuestion]) -> list[RawQuestion]:
    """The same questions.

    Raises:
        DataError: two have one id.
    """
    seen: dict[str, Source] = {}
    for question in questions:
        if question.question_id in seen:
            raise DataError(
                f"Two questions of {question.benchmark} have the id {question.question_id}",
                where=f"{seen[question.question_id]} and {question.file}",
                hint="keep one copy of the benchmark below the data folder",
            )
        seen[question.question_id] = question.file
    return questions
