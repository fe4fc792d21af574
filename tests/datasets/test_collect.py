"""From readings to samples: same pictures, masks, official test parts, shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fundus_r1.datasets import ADAPTERS
from fundus_r1.datasets.collect import Collection, check_share, collect, image_count
from fundus_r1.datasets.images import Limits
from fundus_r1.errors import DataError
from fundus_r1.rows import Quarantined, Split

Make = Callable[..., Path]


def gather(dataset: str, *folders: Path) -> Collection:
    adapter = ADAPTERS[dataset]
    readings = [(folder, adapter.read(folder)) for folder in folders]
    told: list[int] = []
    result = collect(
        adapter, readings, Limits(16, 100_000), lambda patient: Split.TRAIN, lambda: told.append(1)
    )
    assert len(told) == sum(image_count(reading) for _, reading in readings)
    return result


def findings(collection: Collection) -> dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]]:
    return {
        i.sample.path.rsplit("/", 1)[-1]: (i.sample.labels, i.sample.findings) for i in collection.samples
    }


def test_equal_pixels_join_masks_to_grades_and_equal_numbers_do_not(idrid: Make) -> None:
    root = idrid(
        {1: ("1", "0"), 2: ("2", "0"), 3: ("0", "0")},
        {1: (2, ["MA", "HE"]), 2: (1, ["MA"]), 3: (77, ["SE"])},
    )
    assert findings(gather("idrid", root)) == {
        "IDRiD_001.png": (("mild_npdr",), ("microaneurysm",)),
        "IDRiD_002.png": (("moderate_npdr",), ("microaneurysm", "retinal_hemorrhage")),
        "IDRiD_003.png": (("no_dr",), None),
        "IDRiD_03.png": (("diabetic_retinopathy",), ("cotton_wool_spot",)),
    }


def test_no_mask_and_an_empty_mask_both_mean_absent(idrid: Make, mask: Make) -> None:
    root = idrid({1: ("1", "0")}, {5: (1, ["MA"])})
    masks = root / "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"
    mask(masks / "2. Haemorrhages" / "IDRiD_05_HE.tif", marked=False)
    assert findings(gather("idrid", root)) == {"IDRiD_001.png": (("mild_npdr",), ("microaneurysm",))}


def test_a_photo_without_any_lesion_has_no_findings_rather_than_unknown_ones(idrid: Make) -> None:
    assert findings(gather("idrid", idrid({1: ("0", "0")}, {5: (1, [])}))) == {
        "IDRiD_001.png": (("no_dr",), ())
    }


@pytest.mark.parametrize("damage", ["size", "content"])
def test_a_mask_that_does_not_fit_costs_the_masks_and_not_the_grade(
    idrid: Make, mask: Make, damage: str
) -> None:
    root = idrid({1: ("1", "0")}, {5: (1, ["MA"]), 6: (66, ["MA"])})
    for number in (5, 6):
        path = next(root.rglob(f"IDRiD_{number:02d}_MA.tif"))
        if damage == "size":
            mask(path, size=(40, 48))
        else:
            path.write_bytes(b"II*\x00nonsense")
    collection = gather("idrid", root)
    assert findings(collection) == {"IDRiD_001.png": (("mild_npdr",), None)}
    assert [row.reason for row in collection.quarantined] == ["bad_row", "bad_row"]
    assert "IDRiD_05_MA.tif" in collection.quarantined[0].detail


def test_a_photo_of_the_official_test_part_is_never_trained_on(idrid: Make, picture: Make) -> None:
    root = idrid({1: ("1", "0"), 2: ("2", "0")}, {5: (1, ["MA"]), 6: (90, ["MA"])})
    picture("IDRiD/B. Disease Grading/1. Original Images/b. Testing Set/IDRiD_007.png", 90)
    picture("IDRiD/B. Disease Grading/1. Original Images/b. Testing Set/IDRiD_008.png", 2)
    collection = gather("idrid", root)
    assert set(findings(collection)) == {"IDRiD_001.png"}
    assert sorted((row.reason, row.detail) for row in collection.quarantined) == [
        ("duplicate", "the picture is IDRiD_007.png of the official testing set"),
        ("duplicate", "the picture is IDRiD_008.png of the official testing set"),
    ]


def test_a_repeated_picture_is_kept_once_and_a_contradictory_one_never(picture: Make, tmp_path: Path) -> None:
    for name, seed in {
        "CNV/CNV-1-1.png": 1, "CNV/CNV-2-1.png": 1,
        "CNV/CNV-3-1.png": 2, "DRUSEN/DRUSEN-4-1.png": 2,
        "NORMAL/NORMAL-5-1.png": 3,
    }.items():  # fmt: skip
        picture(f"OCT2017/train/{name}", seed)
    collection = gather("kermany", tmp_path / "OCT2017")
    assert [i.sample.path for i in collection.samples] == [
        "train/CNV/CNV-1-1.png",
        "train/NORMAL/NORMAL-5-1.png",
    ]
    assert sorted((row.path, row.reason, row.detail) for row in collection.quarantined) == [
        ("train/CNV/CNV-2-1.png", "duplicate", "repeats train/CNV/CNV-1-1.png"),
        (
            "train/CNV/CNV-3-1.png",
            "duplicate",
            "is the picture train/DRUSEN/DRUSEN-4-1.png, and their labels contradict",
        ),
        (
            "train/DRUSEN/DRUSEN-4-1.png",
            "duplicate",
            "is the picture train/CNV/CNV-3-1.png, and their labels contradict",
        ),
    ]


def test_masks_do_not_revive_a_contradictory_grade(idrid: Make, picture: Make) -> None:
    root = idrid({1: ("1", "0"), 2: ("2", "0"), 3: ("0", "0")}, {5: (1, ["MA"])})
    picture("IDRiD/B. Disease Grading/1. Original Images/a. Training Set/IDRiD_002.png", 1)
    assert set(findings(gather("idrid", root))) == {"IDRiD_003.png"}


def test_damaged_images_are_set_aside(kermany: Make) -> None:
    root = kermany("CNV/CNV-1-1.png", "CNV/CNV-2-1.png", "CNV/CNV-3-1.png", "CNV/CNV-4-1.png")
    files = sorted((root / "train" / "CNV").iterdir())
    files[1].write_bytes(b"")
    files[2].write_bytes(files[2].read_bytes()[:500])
    Image.new("L", (400, 400)).save(files[3])
    collection = gather("kermany", root)
    assert [i.sample.sample_id for i in collection.samples] == ["kermany/train/CNV/CNV-1-1.png"]
    assert [row.reason for row in collection.quarantined] == ["empty", "truncated", "too_large"]


def test_two_folders_of_one_dataset_are_one_dataset(kermany: Make) -> None:
    first = kermany("CNV/CNV-1-1.png", "CNV/CNV-2-1.png", root="a/OCT2017")
    second = kermany("CNV/CNV-9-1.png", "CNV/CNV-2-1.png", "CNV/CNV-3-1.png", root="b/OCT2017")
    collection = gather("kermany", first, second)
    # CNV-9 of the second folder shows the picture of CNV-1, CNV-2 has the same name.
    assert [i.sample.path for i in collection.samples] == [f"train/CNV/CNV-{n}-1.png" for n in (1, 2, 3)]
    assert {row.reason for row in collection.quarantined} == {"duplicate"}


def test_a_layout_without_a_usable_image_is_an_error(kermany: Make, tmp_path: Path) -> None:
    root = kermany("CNV/CNV-1-1.png")
    (root / "train" / "CNV" / "CNV-1-1.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        gather("kermany", root)
    assert caught.value.where == str(root)
    assert "1 unreadable" in caught.value.hint
    (tmp_path / "empty" / "OCT2017" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="no image that can be used"):
        gather("kermany", tmp_path / "empty" / "OCT2017")


def test_too_large_a_share_of_bad_rows_is_an_error_with_counts_and_rows() -> None:
    rows = [
        Quarantined(dataset="top", path=f"img/{n}.jpg", reason="empty" if n else "missing", detail="why")
        for n in range(5)
    ]
    check_share("top", 20, rows, 0.2)
    check_share("top", 0, [], 0.0)
    with pytest.raises(DataError) as caught:
        check_share("top", 19, rows, 0.2)
    assert "5 of 24 rows of top" in caught.value.what
    assert "4 empty, 1 missing" in caught.value.where
    assert "img/0.jpg: why" in caught.value.where
