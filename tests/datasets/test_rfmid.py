"""RFMiD's layout and its traps."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_layouts import RFMID_HEADER, photo, rfmid, rfmid_row, table

from fundus_r1.datasets.rfmid import CODES, find, read
from fundus_r1.errors import DataError

TRAINING = Path("2. Groundtruths/a. RFMiD_Training_Labels.csv")
IMAGES = "1. Original Images/a. Training Set"


def test_an_eye_has_all_its_codes_and_ids_begin_anew_in_each_set(tmp_path: Path) -> None:
    found = {c.name: c.labels for c in read(rfmid(tmp_path)).candidates}
    assert found == {
        f"{IMAGES}/1.png": ("diabetic_retinopathy", "hemorrhagic_retinopathy"),
        f"{IMAGES}/2.png": ("normal",),
        "1. Original Images/b. Validation Set/1.png": ("macular_hole",),
        "1. Original Images/b. Validation Set/2.png": ("normal",),
    }


def test_mh_is_media_haze_and_mhl_the_hole() -> None:
    assert (CODES["mh"], CODES["mhl"], len(CODES)) == ("media_haze", "macular_hole", 45)


def test_the_testing_set_is_held_out(tmp_path: Path) -> None:
    folder = rfmid(tmp_path)
    assert read(folder).held_out == [folder / "1. Original Images/c. Testing Set/1.png"]


def test_bad_rows_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = rfmid(tmp_path)
    for number in range(3, 8):
        photo(folder / IMAGES / f"{number}.png", number)
    table(
        folder / TRAINING,
        RFMID_HEADER,
        rfmid_row(1, 1, "DR"),
        rfmid_row(2, 0, "DR"),
        rfmid_row(3, 1),
        rfmid_row(4, 1, "DN").replace("1", "2"),
        rfmid_row(5, 1, "DN"),
        rfmid_row(5, 1, "TV"),
        rfmid_row(6, 0),
        rfmid_row(6, 0),
        rfmid_row(99, 0),
    )
    reading = read(folder)
    assert [c.file.name for c in reading.candidates if IMAGES in c.name] == ["1.png", "6.png"]
    assert sorted((row.path.rsplit("/", 1)[-1], row.reason) for row in reading.quarantined) == [
        ("2.png", "bad_label"),
        ("3.png", "unlabelled"),
        ("4.png", "bad_label"),
        ("5", "duplicate"),
        ("5", "duplicate"),
        ("6", "duplicate"),
        ("7.png", "unlabelled"),
        ("99", "missing"),
    ]


def test_a_lacking_table_or_column_is_named(tmp_path: Path) -> None:
    folder = rfmid(tmp_path)
    table(folder / TRAINING, RFMID_HEADER.replace(",HPED", ""))
    with pytest.raises(DataError, match="hped"):
        read(folder)
    (folder / TRAINING).unlink()
    with pytest.raises(DataError, match="table of its training set"):
        read(folder)


def test_the_same_folders_with_another_table_are_another_dataset(tmp_path: Path) -> None:
    folder = rfmid(tmp_path)
    for file in (folder / "2. Groundtruths").iterdir():
        file.rename(file.with_name(file.name.replace("RFMiD", "IDRiD")))
    assert find(tmp_path) == []
