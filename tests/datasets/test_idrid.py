"""IDRiD's layout and its traps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fundus_r1.datasets.idrid import find, read
from fundus_r1.errors import DataError

Make = Callable[..., Path]


def test_grades_are_read_despite_the_space_in_the_header(idrid: Make) -> None:
    root = idrid({1: ("0", "0"), 2: ("3", "2"), 3: ("4", "")})
    found = {
        c.name.rsplit("/", 1)[-1]: (c.labels, c.patient, dict(c.attributes)) for c in read(root).candidates
    }
    assert found == {
        "IDRiD_001.png": (("no_dr",), "idrid:IDRiD_001", {"macular_oedema_risk": "0"}),
        "IDRiD_002.png": (("severe_npdr",), "idrid:IDRiD_002", {"macular_oedema_risk": "2"}),
        "IDRiD_003.png": (("pdr",), "idrid:IDRiD_003", {}),
    }


def test_the_archives_own_folder_names_are_found(idrid: Make, tmp_path: Path) -> None:
    root = idrid({1: ("1", "0")}, {7: (1, ["MA"])})
    for part in ("A. Segmentation", "B. Disease Grading"):
        outer = tmp_path / "raw" / part.replace(" ", "%20")
        outer.mkdir(parents=True)
        (root / part).rename(outer / part)
    root.rmdir()
    assert find(tmp_path) == [tmp_path / "raw"]
    reading = read(tmp_path / "raw")
    assert [c.labels for c in reading.candidates] == [("mild_npdr",), ("diabetic_retinopathy",)]
    assert reading.candidates[0].name.startswith("B.%20Disease%20Grading/B. Disease Grading/1. Original")


def test_either_part_alone_will_do(idrid: Make, tmp_path: Path) -> None:
    root = idrid({1: ("1", "0")}, {7: (1, ["MA"])})
    (root / "B. Disease Grading").rename(tmp_path / "elsewhere")
    assert find(tmp_path) == [root]
    assert [c.labels for c in read(root).candidates] == [("diabetic_retinopathy",)]


def test_only_training_parts_are_training_data(idrid: Make, picture: Make) -> None:
    root = idrid({1: ("1", "0")}, {7: (1, ["MA"])})
    held_out = picture("IDRiD/B. Disease Grading/1. Original Images/b. Testing Set/IDRiD_001.png", 90)
    picture("IDRiD/A. Segmentation/1. Original Images/b. Testing Set/IDRiD_55.png", 91)
    reading = read(root)
    assert len(reading.candidates) == 2
    assert reading.held_out == [held_out]


def test_masks_belong_to_segmentation_numbers(idrid: Make) -> None:
    root = idrid({1: ("1", "0")}, {1: (50, ["MA", "SE"]), 2: (51, [])})
    masks = {c.name[-12:]: c.masks for c in read(root).candidates if c.annotates}
    assert {name: sorted(found or {}) for name, found in masks.items()} == {
        "IDRiD_01.png": ["cotton_wool_spot", "microaneurysm"],
        "IDRiD_02.png": [],
    }


def test_bad_rows_are_set_aside_with_a_reason(idrid: Make, picture: Make) -> None:
    root = idrid({1: ("1", "0"), 2: ("5", "0"), 3: ("", "0"), 4: ("2", "7"), 5: ("1", "0")})
    (root / "B. Disease Grading/1. Original Images/a. Training Set/IDRiD_005.png").unlink()
    picture("IDRiD/B. Disease Grading/1. Original Images/a. Training Set/IDRiD_099.png", 99)
    reading = read(root)
    assert [c.labels for c in reading.candidates] == [("mild_npdr",)]
    assert {(row.path.rsplit("/", 1)[-1], row.reason) for row in reading.quarantined} == {
        ("IDRiD_002.png", "bad_label"),
        ("IDRiD_003.png", "unlabelled"),
        ("IDRiD_004.png", "bad_label"),
        ("IDRiD_005", "missing"),
        ("IDRiD_099.png", "unlabelled"),
    }


def test_a_mask_without_a_photo_is_set_aside(idrid: Make, mask: Make) -> None:
    root = idrid({1: ("1", "0")}, {1: (50, [])})
    name = (
        "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_33_MA.tif"
    )
    mask(root / name)
    assert [(row.path, row.reason) for row in read(root).quarantined] == [(name, "missing")]


@pytest.mark.parametrize(
    "lost",
    [
        "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/3. Hard Exudates",
        "B. Disease Grading/1. Original Images/a. Training Set",
        "B. Disease Grading/2. Groundtruths",
    ],
)
def test_a_missing_folder_is_no_absent_lesion(idrid: Make, tmp_path: Path, lost: str) -> None:
    root = idrid({1: ("1", "0")}, {1: (50, ["MA"])})
    (root / lost).rename(tmp_path / "lost")
    with pytest.raises(DataError) as caught:
        read(root)
    assert lost.rsplit("/", 1)[-1] in caught.value.what
    assert str(root) in caught.value.where


def test_a_missing_table_is_named(idrid: Make) -> None:
    root = idrid({1: ("1", "0")})
    next((root / "B. Disease Grading" / "2. Groundtruths").iterdir()).unlink()
    with pytest.raises(DataError, match="table of training grades"):
        read(root)
