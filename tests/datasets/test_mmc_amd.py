"""MMC-AMD's layout and its traps."""

from __future__ import annotations

from pathlib import Path

from dataset_layouts import mmc_amd, photo, table

from fundus_r1.datasets.mmc_amd import find, read
from fundus_r1.rows import Modality


def test_the_letter_in_the_name_is_the_class_in_both_modalities(tmp_path: Path) -> None:
    found = {c.file.name: (c.labels, c.modality) for c in read(mmc_amd(tmp_path)).candidates}
    assert found == {
        "f-w-1_1.jpg": (("wet_amd",), Modality.CFP),
        "f-h-2_1.jpg": (("normal",), Modality.CFP),
        "f-p-3_1.jpg": (("pcv",), Modality.CFP),
        "o-w-1_1.jpg": (("wet_amd",), Modality.OCT),
        "o-w-1_2.jpg": (("wet_amd",), Modality.OCT),
        "o-d-4_1.jpg": (("dry_amd",), Modality.OCT),
    }


def test_an_eye_is_the_same_patient_in_both_modalities(tmp_path: Path) -> None:
    patients = {c.file.name: c.patient for c in read(mmc_amd(tmp_path)).candidates}
    assert patients["f-w-1_1.jpg"] == patients["o-w-1_1.jpg"] == patients["o-w-1_2.jpg"] == "mmc_amd:w-1"


def test_split_ap_is_taken_before_split_a_and_its_test_part_held_out(tmp_path: Path) -> None:
    reading = read(mmc_amd(tmp_path))
    assert [file.name for file in reading.held_out] == ["f-d-5_1.jpg"]
    assert reading.quarantined == []


def test_split_a_alone_will_do(tmp_path: Path) -> None:
    folder = mmc_amd(tmp_path)
    for part in ("train", "val", "test"):
        (folder / f"mmc-amd-splitAP-{part}").rename(folder / f"old-{part}")
    table(folder / "mmc-amd-splitA-train" / "ImageSets" / "oct.txt", "o-d-4_1")
    assert [c.file.name for c in read(folder).candidates] == ["f-d-5_1.jpg", "o-d-4_1.jpg"]


def test_splits_beside_the_folder_of_images_are_found_too(tmp_path: Path) -> None:
    folder = mmc_amd(tmp_path)
    for split in folder.glob("mmc-amd-split*"):
        split.rename(tmp_path / split.name)
    assert find(tmp_path) == [tmp_path]
    assert len(read(tmp_path).candidates) == 6


def test_a_folder_a_split_is_read_too(tmp_path: Path) -> None:
    folder = mmc_amd(tmp_path)
    for part in ("train", "val", "test"):
        name = f"mmc-amd-splitAP-{part}"
        (folder / "mmc-amd-splitAP").mkdir(exist_ok=True)
        (folder / name).rename(folder / "mmc-amd-splitAP" / name)
    assert find(tmp_path) == [folder]
    assert len(read(folder).candidates) == 6


def test_bad_lines_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = mmc_amd(tmp_path)
    photo(folder / "ImageData" / "cfp-clahe-448x448" / "f-x-9_1.jpg", 1)
    table(folder / "mmc-amd-splitAP-val" / "ImageSets" / "cfp.txt", "f-x-9_1", "f-d-99_1", "f-p-3_1", "")
    reading = read(folder)
    assert "f-p-3_1.jpg" in [c.file.name for c in reading.candidates]
    assert {(row.path.rsplit("/", 1)[-1], row.reason) for row in reading.quarantined} == {
        ("f-x-9_1.jpg", "bad_label"),
        ("f-d-99_1", "missing"),
    }
