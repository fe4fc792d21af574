"""Rows as JSON lines: how every file of rows looks, written and read row by row.

The same rows give the same bytes. A line is parsed when it is asked for, so a file of a million
rows needs no more memory than one of a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.rows import Row

R = TypeVar("R", bound=Row)


def line_of(row: Row) -> bytes:
    """A row as one line, its line feed included."""
    return f"{row.model_dump_json()}\n".encode()


def json_lines(rows: Iterable[Row]) -> bytes:
    """Few rows as one piece of a file."""
    return b"".join(line_of(row) for row in rows)


def parse_lines(lines: Iterable[bytes], row_type: type[R], where: str) -> Iterator[R]:
    """The rows of lines, one at a time.

    Args:
        lines: of a file, with or without their line feeds.
        row_type: type of the rows.
        where: the file, for errors.

    Raises:
        StoreError: a line is no such row.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield row_type.model_validate_json(line)
        except ValidationError as error:
            raise StoreError(f"Line {number} is no {row_type.__name__}: {error}", where=where) from error
