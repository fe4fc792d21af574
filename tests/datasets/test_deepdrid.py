"""DeepDRiD's layout and its traps."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_layouts import deepdrid, photo, table

from fundus_r1.datasets.deepdrid import read
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality

REGULAR = "regular_fundus_images/regular-fundus-training"
HEADER = "patient_id,image_id,image_path,left_eye_DR_Level,right_eye_DR_Level"


def test_the_level_is_the_one_that_is_filled_in_and_the_eye_that_of_the_name(tmp_path: Path) -> None:
    folder = deepdrid(tmp_path)
    found = {
        c.name.split("/", 1)[1]: (c.labels, c.patient, c.eye, c.modality) for c in read(folder).candidates
    }
    regular, wide = "regular-fundus-training/Images", "ultra-widefield-training/Images"
    assert found == {
        f"{regular}/1/1_l1.jpg": (("no_dr",), "deepdrid:1", "left", Modality.CFP),
        f"{regular}/1/1_r1.jpg": (("moderate_npdr",), "deepdrid:1", "right", Modality.CFP),
        f"{regular}/56/56_r3.jpg": (("severe_npdr",), "deepdrid:56", "right", Modality.CFP),
        f"{wide}/1/1_l1.jpg": (("mild_npdr",), "deepdrid:uwf/1", "left", Modality.UWF),
    }


def test_photos_without_a_level_and_ungradable_ones_are_set_aside(tmp_path: Path) -> None:
    assert {(row.path.rsplit("/", 1)[-1], row.reason) for row in read(deepdrid(tmp_path)).quarantined} == {
        ("56_r4.jpg", "unlabelled"),
        ("10_r20.jpg", "unlabelled"),
    }


def test_the_evaluation_parts_are_held_out(tmp_path: Path) -> None:
    folder = deepdrid(tmp_path)
    table(folder / "regular_fundus_images/Online-Challenge1&2-Evaluation/Challenge1_labels.csv", "image_id")
    assert [file.name for file in read(folder).held_out] == ["347_l1.jpg"]


def test_validation_is_training_data_too(tmp_path: Path) -> None:
    folder = deepdrid(tmp_path)
    part = folder / "regular_fundus_images" / "regular-fundus-validation"
    photo(part / "Images" / "265" / "265_l1.jpg", 1)
    table(part / "regular-fundus-validation.csv", HEADER, "265,265_l1,x,4,")
    assert "deepdrid:265" in [c.patient for c in read(folder).candidates]


def test_bad_rows_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = deepdrid(tmp_path)
    part = folder / REGULAR
    table(
        part / "regular-fundus-training.csv",
        HEADER, "1,1_l1,x,0,2", ",1_r1,x,,1", "56,56_r3,x,9,", "57,57_l1,x,0,",
    )  # fmt: skip
    lost = {(row.path.rsplit("/", 1)[-1], row.reason) for row in read(folder).quarantined}
    assert lost == {
        ("1_l1.jpg", "bad_label"),
        ("1_r1.jpg", "bad_row"),
        ("56_r3.jpg", "bad_label"),
        ("57_l1", "missing"),
        ("56_r4.jpg", "unlabelled"),
        ("10_r20.jpg", "unlabelled"),
    }


def test_either_part_alone_will_do_and_a_missing_table_is_named(tmp_path: Path) -> None:
    folder = deepdrid(tmp_path)
    (folder / "ultra-widefield_images").rename(tmp_path / "elsewhere")
    assert {c.modality for c in read(folder).candidates} == {Modality.CFP}
    (folder / REGULAR / "regular-fundus-training.csv").unlink()
    with pytest.raises(DataError) as caught:
        read(folder)
    assert "regular-fundus-training.csv" in (caught.value.hint or "")
