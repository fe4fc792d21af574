"""Retinal-Lesions' layout and its traps."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_layouts import mask, photo, retinal_lesions, table

from fundus_r1.datasets.collect import collect
from fundus_r1.datasets.images import Limits
from fundus_r1.datasets.retinal_lesions import ADAPTER, read
from fundus_r1.errors import DataError
from fundus_r1.rows import Split


def test_grades_eyes_and_patients(tmp_path: Path) -> None:
    found = {c.file.name: (c.labels, c.patient, c.eye) for c in read(retinal_lesions(tmp_path)).candidates}
    assert found == {
        "18059_left.jpg": (("moderate_npdr",), "retinal_lesions:18059", "left"),
        "18059_right.jpg": (("no_dr",), "retinal_lesions:18059", "right"),
        "7_left.jpg": (("pdr",), "retinal_lesions:7", "left"),
    }


def test_grey_127_is_a_lesion_that_does_not_count(tmp_path: Path) -> None:
    folder = retinal_lesions(tmp_path)
    mask(folder / "segmentation" / "neovascularization" / "7_left.png")
    mask(folder / "segmentation" / "vitreous_hemorrhage" / "7_left.png", level=127)
    result = collect(ADAPTER, [(folder, read(folder))], Limits(16), lambda _: Split.TRAIN, lambda: None)
    assert {item.sample.path[15:]: item.sample.findings for item in result.samples} == {
        "18059_left.jpg": ("microaneurysm",),
        "18059_right.jpg": (),
        "7_left.jpg": ("neovascularization",),
    }


@pytest.mark.parametrize("name", ["labels.txt", "DR.csv"])
def test_the_table_of_grades_is_known_by_what_is_in_it(tmp_path: Path, name: str) -> None:
    folder = retinal_lesions(tmp_path)
    (folder / "dr_grades.csv").unlink()
    table(folder / name, "18059_left 2", "18059_right 0", "7_left 4")
    table(folder / "README.txt", "Retinal-Lesions", "", "1593 images")
    assert [c.labels for c in read(folder).candidates] == [("moderate_npdr",), ("no_dr",), ("pdr",)]


def test_without_grades_the_dataset_cannot_be_read(tmp_path: Path) -> None:
    folder = retinal_lesions(tmp_path)
    (folder / "dr_grades.csv").unlink()
    with pytest.raises(DataError, match="table of grades"):
        read(folder)


def test_a_missing_lesion_folder_is_no_absent_lesion(tmp_path: Path) -> None:
    folder = retinal_lesions(tmp_path)
    (folder / "segmentation" / "fibrous_proliferation").rmdir()
    with pytest.raises(DataError, match="fibrous_proliferation"):
        read(folder)


def test_bad_rows_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = retinal_lesions(tmp_path)
    photo(folder / "images_896x896" / "9_left.jpg", 1)
    photo(folder / "images_896x896" / "10_left.jpg", 2)
    photo(folder / "images_896x896" / "scan.jpg", 3)
    rows = (
        "scan.jpg,1",
        "18059_left.jpg,2",
        "18059_right.jpg,0",
        "7_left.jpg,4",
        "9_left.jpg,6",
        "11_left.jpg,1",
    )
    table(folder / "dr_grades.csv", *rows)
    reading = read(folder)
    assert len(reading.candidates) == 3
    assert {(row.path[15:], row.reason) for row in reading.quarantined} == {
        ("9_left.jpg", "bad_label"),
        ("10_left.jpg", "unlabelled"),
        ("11_left.jpg", "missing"),
        ("scan.jpg", "bad_row"),
    }
