from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.datasets.adapter import distinct, read_table, stem, whole_number
from fundus_r1.errors import DataError


def test_a_table_is_read_without_surrounding_space_and_empty_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffImage name, Grade ,,\r\n a ,1,,\r\n,,,\r\nb,2\r\n".encode())
    assert read_table(path, ("image name", "grade")) == [
        (2, {"image name": "a", "grade": "1"}),
        (4, {"image name": "b", "grade": "2"}),
    ]


def test_a_lacking_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("filename,ID\n")
    with pytest.raises(DataError) as caught:
        read_table(path, ("filename", "lr", "amd"))
    assert "lr, amd" in caught.value.what
    assert str(path) in caught.value.where


def test_a_table_in_another_encoding_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(DataError) as caught:
        read_table(path, ("name",))
    assert caught.value.where == str(path)


def test_equal_rows_keep_the_first_and_contradicting_ones_none() -> None:
    rows = [
        (2, {"f": "a.jpg", "g": "1"}),
        (3, {"f": "b.jpg", "g": "1"}),
        (4, {"f": "A.JPG", "g": "1"}),
        (5, {"f": "b.jpg", "g": "2"}),
        (6, {"f": "a.jpg", "g": "1"}),
    ]
    kept, lost = distinct(rows, "f", "top", "img")
    assert [line for line, _ in kept] == [2]
    assert sorted((row.path, row.detail) for row in lost) == [
        ("img/A.JPG", "line 4 repeats line 2, 6 of the table"),
        ("img/a.jpg", "line 6 repeats line 2, 4 of the table"),
        ("img/b.jpg", "line 3 contradicts line 5 of the table"),
        ("img/b.jpg", "line 5 contradicts line 3 of the table"),
    ]
    assert {row.reason for row in lost} == {"duplicate"}


def test_names_match_without_folder_case_and_extension() -> None:
    assert stem("img\\000001_02.JPG ") == stem("000001_02.jpg") == "000001_02"
    assert stem("../../etc/passwd") == "passwd"


def test_whole_numbers() -> None:
    assert [whole_number(t, range(5)) for t in ("3", "3.0", " 4", "5", "-1", "x", "", "nan", "1.5")] == [
        3, 3, 4, None, None, None, None, None, None,
    ]  # fmt: skip
