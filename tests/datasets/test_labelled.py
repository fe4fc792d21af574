"""Tables beside images and images by themselves: every row and every file is accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_layouts import mask

from fundus_r1.datasets.adapter import Candidate, Reading
from fundus_r1.datasets.labelled import (
    Table,
    Unfit,
    codes,
    demand,
    dr_grade,
    eye_of,
    files_below,
    files_by_stem,
    files_of,
    from_files,
    from_table,
    joined,
    masks_by_stem,
)
from fundus_r1.errors import DataError


def candidate(file: Path, row: dict[str, str] | None = None) -> Candidate:
    if (row or {}).get("label") == "?" or file.stem == "odd":
        raise Unfit("bad_label", "says ?")
    return Candidate(name=file.name, file=file, labels=("normal",), patient="x:1")


def test_each_row_and_each_file_is_a_candidate_or_has_a_reason(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        mask(tmp_path / "img" / f"{name}.png")
    lines = [("A.jpg", "1"), ("b", "?"), ("c", "1"), ("c", "2"), ("e", "1")]
    rows = [
        (number, {"image": image, "label": label}) for number, (image, label) in enumerate(lines, start=2)
    ]
    images = tmp_path / "img"
    reading = from_table(
        "x", tmp_path, Table("t.csv", rows, "image"), images, files_by_stem(files_of(images)), candidate
    )
    assert [c.name for c in reading.candidates] == ["a.png"]
    assert sorted((row.path, row.reason, row.detail) for row in reading.quarantined) == [
        ("img/b.png", "bad_label", "line 3 of the table says ?"),
        ("img/c", "duplicate", "line 4 contradicts line 5 of the table"),
        ("img/c", "duplicate", "line 5 contradicts line 4 of the table"),
        ("img/d.png", "unlabelled", "no row of t.csv"),
        ("img/e", "missing", "line 6 of the table names no file there is"),
    ]


def test_files_that_are_unfit_are_set_aside(tmp_path: Path) -> None:
    for name in ("b/fine.png", "odd.png", ".hidden.png"):
        mask(tmp_path / name)
    reading = from_files("x", tmp_path, files_below(tmp_path), candidate)
    assert [c.name for c in reading.candidates] == ["fine.png"]
    assert [(row.path, row.detail) for row in reading.quarantined] == [("odd.png", "says ?")]
    assert files_below(None) == files_of(None) == []


def test_masks_go_to_the_images_of_their_names(tmp_path: Path) -> None:
    mask(tmp_path / "MA" / "One_MA.tif")
    mask(tmp_path / "MA" / "three_MA.tif")
    lesions = {"microaneurysm": (tmp_path / "MA", "_MA")}
    found, lost = masks_by_stem("x", tmp_path, lesions, ["one", "two"])
    assert found == {"one": {"microaneurysm": tmp_path / "MA" / "One_MA.tif"}, "two": {}}
    assert [(row.path, row.reason) for row in lost] == [("MA/three_MA.tif", "missing")]


def test_parts_are_joined_in_their_order(tmp_path: Path) -> None:
    parts = [Reading([candidate(tmp_path / name)], [], [tmp_path / f"test-{name}"]) for name in ("a", "b")]
    whole = joined(parts)
    assert [c.name for c in whole.candidates] == ["a", "b"]
    assert whole.held_out == [tmp_path / "test-a", tmp_path / "test-b"]
    assert joined([]) == Reading([], [])


def test_a_lacking_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "2.%20Groundtruths").mkdir()
    assert demand("x", tmp_path, "2. Groundtruths") == tmp_path / "2.%20Groundtruths"
    with pytest.raises(DataError, match="x lacks the folder b"):
        demand("x", tmp_path, "2. Groundtruths", "b")


def test_grades_of_diabetic_retinopathy() -> None:
    assert [dr_grade(text) for text in ("0", "1.0", "4")] == ["no_dr", "mild_npdr", "pdr"]
    for text, ungradable, reason in (
        ("", None, "unlabelled"), ("5", None, "bad_label"), ("5", 5, "unlabelled"), ("6", 5, "bad_label"),
        ("x", None, "bad_label"),
    ):  # fmt: skip
        with pytest.raises(Unfit) as caught:
            dr_grade(text, ungradable)
        assert caught.value.reason == reason


def test_eyes() -> None:
    assert [eye_of(text) for text in ("OD", "os", "L", "Right", " left", "", "OU", "1")] == [
        "right", "left", "left", "right", "left", "", "", "",
    ]  # fmt: skip


def test_codes_are_found_under_their_plain_names() -> None:
    assert codes("octid_disease")["amrd"] == "amd"
    assert codes("jsiec_disease")["yellow white spots flecks"] == "yellow_white_spots"
