"""NEH's layout and its traps."""

from __future__ import annotations

import shutil
from pathlib import Path

from dataset_layouts import neh, photo

from fundus_r1.datasets.collect import collect
from fundus_r1.datasets.images import Limits
from fundus_r1.datasets.neh import ADAPTER, find, read
from fundus_r1.rows import Split


def test_a_b_scans_label_is_the_ending_of_its_name_and_not_its_folder(tmp_path: Path) -> None:
    found = {c.name: (c.labels, c.patient, c.eye) for c in read(neh(tmp_path)).candidates}
    assert found == {
        "CNV/22/1_Cnv.jpg": (("cnv",), "neh:CNV/22", ""),
        "DRUSEN/69/OD/2_Drusen.tif": (("drusen",), "neh:DRUSEN/69", "right"),
        "DRUSEN/69/OS/3_Normal.tif": (("normal",), "neh:DRUSEN/69", "left"),
        "NORMAL/1/1_Normal.jpg": (("normal",), "neh:NORMAL/1", ""),
    }


def test_the_folder_is_the_patients_diagnosis(tmp_path: Path) -> None:
    told = {c.name: c.attributes["patient_diagnosis"] for c in read(neh(tmp_path)).candidates}
    assert told["DRUSEN/69/OS/3_Normal.tif"] == "drusen"
    assert told["NORMAL/1/1_Normal.jpg"] == "normal"


def test_a_picture_under_two_patients_with_contradicting_labels_is_used_for_neither(tmp_path: Path) -> None:
    folder = neh(tmp_path)
    shutil.copy(folder / "CNV/22/1_Cnv.jpg", folder / "DRUSEN/69/9_Drusen.jpg")
    shutil.copy(folder / "NORMAL/1/1_Normal.jpg", folder / "NORMAL/1/2_Normal.jpg")
    result = collect(ADAPTER, [(folder, read(folder))], Limits(16), lambda _: Split.TRAIN, lambda: None)
    assert [item.sample.path for item in result.samples] == [
        "DRUSEN/69/OD/2_Drusen.tif",
        "DRUSEN/69/OS/3_Normal.tif",
        "NORMAL/1/1_Normal.jpg",
    ]
    assert {row.path for row in result.quarantined} == {
        "CNV/22/1_Cnv.jpg",
        "DRUSEN/69/9_Drusen.jpg",
        "NORMAL/1/2_Normal.jpg",
    }


def test_names_without_a_class_and_files_without_a_patient_are_set_aside(tmp_path: Path) -> None:
    folder = neh(tmp_path)
    photo(folder / "CNV" / "22" / "scan.jpg", 1)
    photo(folder / "CNV" / "22" / "4_Dme.jpg", 2)
    photo(folder / "CNV" / "5_Cnv.jpg", 3)
    assert {(row.path, row.reason) for row in read(folder).quarantined} == {
        ("CNV/22/scan.jpg", "bad_label"),
        ("CNV/22/4_Dme.jpg", "bad_label"),
        ("CNV/5_Cnv.jpg", "bad_row"),
    }


def test_class_folders_without_patients_are_another_dataset(tmp_path: Path) -> None:
    for number, name in enumerate(("NORMAL", "DRUSEN", "CNV")):
        photo(tmp_path / name / f"{number}_{name.title()}.jpg", number)
    assert find(tmp_path) == []
