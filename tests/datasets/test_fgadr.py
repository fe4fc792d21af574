"""FGADR's layout and its traps."""

from __future__ import annotations

from pathlib import Path

from dataset_layouts import fgadr, mask

from fundus_r1.datasets.collect import collect
from fundus_r1.datasets.fgadr import ADAPTER, find, read
from fundus_r1.datasets.images import Limits
from fundus_r1.rows import Split


def found(folder: Path) -> dict[str, tuple[str, ...] | None]:
    result = collect(ADAPTER, [(folder, read(folder))], Limits(16), lambda _: Split.TRAIN, lambda: None)
    return {item.sample.path: item.sample.findings for item in result.samples}


def test_masks_count_from_half_grey_and_a_missing_one_is_absent(tmp_path: Path) -> None:
    assert found(fgadr(tmp_path)) == {
        "Original_Images/0001_2.png": (
            "hard_exudate",
            "intraretinal_microvascular_abnormality",
            "retinal_hemorrhage",
        ),
        "Original_Images/0002_1.png": ("cotton_wool_spot", "neovascularization"),
    }


def test_grade_0_is_no_diabetic_retinopathy(tmp_path: Path) -> None:
    reading = read(fgadr(tmp_path))
    assert [(row.path, row.reason) for row in reading.quarantined] == [
        ("Original_Images/0003_3.png", "bad_label")
    ]
    assert [dict(c.attributes) for c in reading.candidates] == [{"grade": "3"}, {"grade": "4"}]


def test_without_the_table_of_grades_all_photos_are_read(tmp_path: Path) -> None:
    folder = fgadr(tmp_path)
    (folder / "DR_Seg_Grading_Label.csv").unlink()
    assert len(read(folder).candidates) == 3


def test_further_lesions_are_read_by_their_names_and_unknown_ones_are_named(tmp_path: Path) -> None:
    folder = fgadr(tmp_path)
    mask(folder / "Venous_Beading_Masks" / "0001_2.png")
    mask(folder / "Something_Masks" / "0001_2.png")
    reading = read(folder)
    assert "venous_beading" in (reading.candidates[0].masks or {})
    assert ("Something_Masks", "bad_label") in [(row.path, row.reason) for row in reading.quarantined]


def test_a_mask_without_a_photo_is_set_aside(tmp_path: Path) -> None:
    folder = fgadr(tmp_path)
    mask(folder / "IRMA_Masks" / "0999_1.png")
    assert ("IRMA_Masks/0999_1.png", "missing") in [(r.path, r.reason) for r in read(folder).quarantined]


def test_photos_without_masks_are_another_dataset(tmp_path: Path) -> None:
    (tmp_path / "Original_Images").mkdir()
    assert find(tmp_path) == []
