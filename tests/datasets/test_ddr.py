"""DDR's layout and its traps."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_layouts import DR_LESIONS, ddr, mask, photo, table

from fundus_r1.datasets.collect import Collection, collect
from fundus_r1.datasets.ddr import ADAPTER, read
from fundus_r1.datasets.images import Limits
from fundus_r1.errors import DataError
from fundus_r1.rows import Split

TRAIN = "lesion_segmentation/train"


def gather(folder: Path) -> Collection:
    return collect(ADAPTER, [(folder, read(folder))], Limits(16), lambda _: Split.TRAIN, lambda: None)


def test_masks_of_train_and_of_valid_reach_the_graded_photos(tmp_path: Path) -> None:
    found = {i.sample.path: (i.sample.labels, i.sample.findings) for i in gather(ddr(tmp_path)).samples}
    assert found == {
        "DR_grading/train/007-0004-000.jpg": (("no_dr",), None),
        "DR_grading/train/007-0004-100.jpg": (("moderate_npdr",), ("microaneurysm",)),
        "DR_grading/valid/107-0004-000.jpg": (("pdr",), ("cotton_wool_spot",)),
    }


def test_photos_whose_names_differ_in_the_last_number_share_a_patient(tmp_path: Path) -> None:
    patients = [c.patient for c in read(ddr(tmp_path)).candidates]
    assert patients == ["ddr:007-0004", "ddr:007-0004", "ddr:107-0004"]


def test_grade_5_is_ungradable_and_test_is_held_out(tmp_path: Path) -> None:
    reading = read(ddr(tmp_path))
    assert [(row.path, row.reason) for row in reading.quarantined] == [
        ("DR_grading/train/007-0007-000.jpg", "unlabelled")
    ]
    assert [file.name for file in reading.held_out] == ["207-0004-000.jpg"]


def test_a_segmented_photo_under_another_name_is_known_by_its_pixels(tmp_path: Path) -> None:
    folder = ddr(tmp_path)
    image = folder / TRAIN / "image" / "007-0004-100.jpg"
    image.rename(image.with_name("renamed.jpg"))
    mark = folder / TRAIN / "label" / "MA" / "007-0004-100.tif"
    mark.rename(mark.with_name("renamed.tif"))
    found = {item.sample.path: item.sample.findings for item in gather(folder).samples}
    assert found["DR_grading/train/007-0004-100.jpg"] == ("microaneurysm",)


def test_a_segmented_photo_that_is_graded_nowhere_is_set_aside(tmp_path: Path) -> None:
    folder = ddr(tmp_path)
    photo(folder / TRAIN / "image" / "alone.jpg", 1)
    mask(folder / TRAIN / "label" / "EX" / "alone.tif")
    collection = gather(folder)
    assert len(collection.samples) == 3
    assert (f"{TRAIN}/image/alone.jpg", "unlabelled") in [(r.path, r.reason) for r in collection.quarantined]


def test_a_segmented_photo_of_the_grading_test_set_is_not_trained_on(tmp_path: Path) -> None:
    folder = ddr(tmp_path)
    photo(folder / TRAIN / "image" / "207-0004-000.jpg", 823)
    rows = {row.path: row for row in gather(folder).quarantined}
    assert rows[f"{TRAIN}/image/207-0004-000.jpg"].reason == "duplicate"


def test_a_mask_of_another_size_is_set_aside_and_the_grade_kept(tmp_path: Path) -> None:
    folder = ddr(tmp_path)
    mask(folder / TRAIN / "label" / "MA" / "007-0004-100.tif", size=(20, 20))
    collection = gather(folder)
    found = {item.sample.path: item.sample.findings for item in collection.samples}
    assert found["DR_grading/train/007-0004-100.jpg"] is None
    assert [row.detail for row in collection.quarantined if row.reason == "bad_row"] == [
        "mask 007-0004-100.tif: the mask has 20 x 20 pixels, its image has 48 x 40"
    ]


def test_without_the_segmentation_part_grades_alone_are_read(tmp_path: Path) -> None:
    folder = ddr(tmp_path)
    (folder / "lesion_segmentation").rename(tmp_path / "elsewhere")
    assert [item.sample.findings for item in gather(folder).samples] == [None] * 3


@pytest.mark.parametrize("lesion", DR_LESIONS)
def test_a_missing_lesion_folder_is_no_absent_lesion(tmp_path: Path, lesion: str) -> None:
    folder = ddr(tmp_path)
    (folder / "lesion_segmentation/valid/segmentation label" / lesion).rename(tmp_path / "lost")
    with pytest.raises(DataError, match=lesion):
        read(folder)


def test_bad_lines_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = ddr(tmp_path)
    photo(folder / "DR_grading/train/extra.jpg", 2)
    table(
        folder / "DR_grading/train.txt",
        "007-0004-000.jpg 0", "", "007-0004-100.jpg x", "007-0007-000.jpg", "gone.jpg 1",
    )  # fmt: skip
    lost = {(row.path.rsplit("/", 1)[-1], row.reason) for row in read(folder).quarantined}
    assert lost == {
        ("007-0004-100.jpg", "bad_label"),
        ("007-0007-000.jpg", "unlabelled"),
        ("gone.jpg", "missing"),
        ("extra.jpg", "unlabelled"),
    }
