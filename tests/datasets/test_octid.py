"""OCTID's layouts and their traps."""

from __future__ import annotations

from pathlib import Path

from dataset_layouts import octid, photo

from fundus_r1.datasets.octid import find, read


def test_the_name_is_the_label_and_amrd_is_amd(tmp_path: Path) -> None:
    assert {c.name: c.labels for c in read(octid(tmp_path)).candidates} == {
        "AMRD3.jpeg": ("amd",),
        "CSR91.jpeg": ("csc",),
        "DR12.jpeg": ("diabetic_retinopathy",),
        "MH91.jpeg": ("macular_hole",),
        "NORMAL1.jpeg": ("normal",),
    }


def test_a_folder_a_class_is_found_too(tmp_path: Path) -> None:
    for number, name in enumerate(("AMRD/AMRD1.jpeg", "NORMAL/NORMAL1.jpeg", "MH/MH (2).jpeg")):
        photo(tmp_path / "scans" / name, number)
    assert find(tmp_path) == [tmp_path / "scans"]
    assert [c.labels[0] for c in read(tmp_path / "scans").candidates] == ["amd", "macular_hole", "normal"]


def test_names_that_other_datasets_have_too_are_not_enough(tmp_path: Path) -> None:
    for number, name in enumerate(("DR1.jpg", "MH2.jpg", "NORMAL3.jpg")):
        photo(tmp_path / "photos" / name, number)
    assert find(tmp_path) == []


def test_other_files_are_set_aside(tmp_path: Path) -> None:
    folder = octid(tmp_path)
    photo(folder / "RVO1.jpeg", 1)
    photo(folder / "scan.jpeg", 2)
    assert {(row.path, row.reason) for row in read(folder).quarantined} == {
        ("RVO1.jpeg", "bad_label"),
        ("scan.jpeg", "bad_label"),
    }
