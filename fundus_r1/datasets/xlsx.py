"""Cells of an Excel workbook (.xlsx), as text; two datasets publish their labels only so.

A workbook is a ZIP of XML files (ECMA-376). Of it only cell values are read: no formula is computed, no
date is interpreted. XML is parsed without entities, and a part that unpacks to something huge is refused.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from fundus_r1.errors import DataError

MAX_PART = 200_000_000
"""Bytes that one part of a workbook may unpack to."""

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_COLUMN = re.compile(r"[A-Z]+")


def read_sheet(path: Path, name: str | None = None) -> list[list[str]]:
    """Rows of one sheet; a cell without a value is an empty text, and numbers read as they are stored.

    Args:
        path: of the workbook.
        name: of the sheet, whatever its case; None takes the first.

    Raises:
        DataError: the file is no workbook, or has no such sheet.
    """
    try:
        with zipfile.ZipFile(path) as book:
            shared = _shared_texts(book)
            rows = [_cells(row, shared) for row in _part(book, _sheet(path, book, name)).iter(f"{_MAIN}row")]
    except OSError as error:
        raise DataError(
            f"A workbook cannot be read: {error.strerror or error}", where=str(path), hint="make it readable"
        ) from error
    except (zipfile.BadZipFile, ParseError, DefusedXmlException, KeyError, IndexError, ValueError) as error:
        raise DataError(
            f"A workbook is damaged: {error}", where=str(path), hint="download the dataset's table again"
        ) from error
    return rows


def _part(book: zipfile.ZipFile, name: str) -> Element:
    if book.getinfo(name).file_size > MAX_PART:
        raise ValueError(f"{name} unpacks to more than {MAX_PART} bytes")
    return ElementTree.fromstring(book.read(name))


def _sheet(path: Path, book: zipfile.ZipFile, name: str | None) -> str:
    sheets = {
        sheet.attrib["name"].strip(): sheet.attrib[_RELATION]
        for sheet in _part(book, "xl/workbook.xml").iter(f"{_MAIN}sheet")
    }
    found = next((key for key in sheets if name is None or key.casefold() == name.casefold()), None)
    if found is None:
        raise DataError(
            f"A workbook has no sheet {name}",
            where=f"{path}, sheets: {', '.join(sheets)}",
            hint="use the table that the dataset's authors published",
        )
    relations = _part(book, "xl/_rels/workbook.xml.rels")
    target = {each.attrib["Id"]: each.attrib["Target"] for each in relations}[sheets[found]]
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _shared_texts(book: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    return [_text(item) for item in _part(book, "xl/sharedStrings.xml").iter(f"{_MAIN}si")]


def _text(item: Element) -> str:
    """The text of a rich string, without the readings that East Asian entries may carry."""
    runs = [item, *item.iter(f"{_MAIN}r")]
    return "".join(run.findtext(f"{_MAIN}t", "") for run in runs).strip()


def _cells(row: Element, shared: list[str]) -> list[str]:
    values: list[str] = []
    for cell in row.iter(f"{_MAIN}c"):
        column = _number(cell.attrib["r"]) if "r" in cell.attrib else len(values)
        values.extend([""] * (column - len(values)))
        values.append(_value(cell, shared))
    return values


def _number(reference: str) -> int:
    """``AB7`` -> 27, the column's place from 0."""
    letters = _COLUMN.match(reference)
    if letters is None or len(letters[0]) > 3:
        raise ValueError(f"{reference} is no cell")
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _value(cell: Element, shared: list[str]) -> str:
    kind, value = cell.attrib.get("t"), cell.findtext(f"{_MAIN}v", "").strip()
    if kind == "s":
        return shared[int(value)]
    if kind == "inlineStr":
        inline = cell.find(f"{_MAIN}is")
        return _text(inline) if inline is not None else ""
    return value
