"""GRAPE's layout and its traps."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_layouts import grape, photo, workbook

from fundus_r1.datasets.grape import read
from fundus_r1.errors import DataError

HEADER = [
    ["Subject Number", "Laterality", "Category of Glaucoma", "Progression Status", None, None, "VF"],
    [None, None, None, "PLR2", "PLR3", "MD", "MD"],
]


def test_an_eyes_status_is_the_label_of_all_its_visits(tmp_path: Path) -> None:
    found = {c.name: (c.labels, c.patient, c.eye) for c in read(grape(tmp_path)).candidates}
    assert found == {
        "CFPs/1_OD_1.jpg": (("progressive_glaucoma",), "grape:1", "right"),
        "CFPs/1_OD_2.jpg": (("progressive_glaucoma",), "grape:1", "right"),
        "CFPs/1_OS_1.jpg": (("stable_glaucoma",), "grape:1", "left"),
        "CFPs/2_OD_1.jpg": (("stable_glaucoma",), "grape:2", "right"),
    }


def test_all_three_criteria_and_the_category_are_attributes(tmp_path: Path) -> None:
    assert dict(read(grape(tmp_path)).candidates[2].attributes) == {
        "visit": "1",
        "progression_plr2": "0",
        "progression_plr3": "0",
        "progression_md": "1",
        "glaucoma_category": "OAG",
    }


def test_bad_photos_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = grape(tmp_path)
    workbook(
        folder / "VF and clinical information.xlsx",
        Baseline=[*HEADER, [1, "OD", "OAG", 2, 0, 0], [1, "OS", "OAG", None, 0, 0], [2, "OD", "x", 0, 0, 0]],
    )
    photo(folder / "CFPs" / "3_OS_1.jpg", 1)
    photo(folder / "CFPs" / "notes.jpg", 2)
    reading = read(folder)
    assert [c.name for c in reading.candidates] == ["CFPs/2_OD_1.jpg"]
    assert {(row.path[5:], row.reason) for row in reading.quarantined} == {
        ("1_OD_1.jpg", "bad_label"),
        ("1_OD_2.jpg", "bad_label"),
        ("1_OS_1.jpg", "unlabelled"),
        ("3_OS_1.jpg", "unlabelled"),
        ("notes.jpg", "bad_row"),
    }


def test_a_lacking_sheet_or_column_is_named(tmp_path: Path) -> None:
    folder = grape(tmp_path)
    path = folder / "VF and clinical information.xlsx"
    workbook(path, Other=HEADER)
    with pytest.raises(DataError, match="no sheet Baseline"):
        read(folder)
    workbook(path, Baseline=[HEADER[0], [None, None, None, "PLR2"]])
    with pytest.raises(DataError, match="plr3, md"):
        read(folder)
