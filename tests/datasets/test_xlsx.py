"""Excel workbooks, as text."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from dataset_layouts import workbook

from fundus_r1.datasets.xlsx import read_sheet
from fundus_r1.errors import DataError


def test_texts_numbers_and_cells_that_are_left_out(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", First=[["ID", None, "a & <b>，"], [], [7, 2.5]], Second=[["x"]])
    assert read_sheet(path) == [["ID", "", "a & <b>，"], [], ["7", "2.5"]]
    assert read_sheet(path, "second") == [["x"]]


def test_columns_after_z(tmp_path: Path) -> None:
    row = [None] * 27 + ["end"]
    assert read_sheet(workbook(tmp_path / "a.xlsx", S=[row])) == [[""] * 27 + ["end"]]


def test_inline_texts_and_runs_are_joined_without_their_readings(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", S=[["shared"]])
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    change(
        path,
        "xl/worksheets/sheet1.xml",
        f'<worksheet {main}><sheetData><row><c t="s"><v>0</v></c><c t="inlineStr"><is><t>in</t></is></c>'
        "<c><v>3</v></c></row></sheetData></worksheet>",
    )
    change(
        path,
        "xl/sharedStrings.xml",
        f"<sst {main}><si><r><t>left </t></r><r><t>eye</t></r><rPh><t>reading</t></rPh></si></sst>",
    )
    assert read_sheet(path) == [["left eye", "in", "3"]]


def change(path: Path, name: str, text: str) -> None:
    with zipfile.ZipFile(path) as book:
        parts = {part: book.read(part) for part in book.namelist()}
    with zipfile.ZipFile(path, "w") as book:
        for part, data in {**parts, name: text.encode()}.items():
            book.writestr(part, data)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("xl/worksheets/sheet1.xml", "<worksheet"),
        ("xl/workbook.xml", '<!DOCTYPE x [<!ENTITY a "aaaa">]><workbook>&a;</workbook>'),
        ("xl/_rels/workbook.xml.rels", '<Relationships xmlns="x"><Relationship/></Relationships>'),
    ],
)
def test_a_damaged_or_hostile_workbook_is_an_error_with_its_place(
    tmp_path: Path, part: str, text: str
) -> None:
    path = workbook(tmp_path / "a.xlsx", S=[["x"]])
    change(path, part, text)
    with pytest.raises(DataError) as caught:
        read_sheet(path)
    assert caught.value.where.startswith(str(path))


def test_what_is_no_workbook_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    path.write_text("ID,Label")
    with pytest.raises(DataError, match="damaged"):
        read_sheet(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_sheet(tmp_path / "none.xlsx")
    with pytest.raises(DataError, match="no sheet Baseline"):
        read_sheet(workbook(path, Other=[["x"]]), "Baseline")
