"""Kermany's layout and its traps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fundus_r1.datasets.kermany import ADAPTER, find, read

Make = Callable[..., Path]


@pytest.mark.parametrize("root", ["OCT2017", "CellData/OCT", "some/where/OCT2017", "my scans"])
def test_it_is_found_under_its_published_names_and_below(kermany: Make, tmp_path: Path, root: str) -> None:
    folder = kermany("CNV/CNV-1-1.jpeg", root=root)
    assert find(tmp_path) == [folder]
    assert find(folder) == [folder]


def test_chest_xray_beside_it_is_no_oct(kermany: Make, tmp_path: Path) -> None:
    oct_folder = kermany("NORMAL/NORMAL-1-1.jpeg", root="CellData/OCT")
    kermany("NORMAL/IM-0115-0001.jpeg", "PNEUMONIA/person1.jpeg", root="CellData/chest_xray")
    assert find(tmp_path) == [oct_folder]


def test_benchmark_images_are_no_training_set(kermany: Make, tmp_path: Path) -> None:
    kermany("CNV/CNV-1-1.jpeg", root="OmniMedVQA/Images/OCT & X-Ray 2017")
    (tmp_path / "OmniMedVQA" / "QA_information").mkdir()
    assert find(tmp_path) == []


def test_only_train_is_training_data_and_the_number_is_the_patient(kermany: Make) -> None:
    root = kermany(
        "CNV/CNV-77-1.jpeg", "DRUSEN/DRUSEN-77-2.jpeg", "NORMAL/NORMAL-8-1.jpeg", "DME/DME-9-1.jpeg"
    )
    kermany("CNV/CNV-5-1.jpeg", part="test")
    kermany("CNV/CNV-6-1.jpeg", part="val")
    found = {c.name: (c.labels, c.patient) for c in read(root).candidates}
    assert found == {
        "train/CNV/CNV-77-1.jpeg": (("cnv",), "kermany:77"),
        "train/DME/DME-9-1.jpeg": (("dme",), "kermany:9"),
        "train/DRUSEN/DRUSEN-77-2.jpeg": (("drusen",), "kermany:77"),
        "train/NORMAL/NORMAL-8-1.jpeg": (("normal",), "kermany:8"),
    }


def test_what_it_does_not_know_is_set_aside_with_a_reason(kermany: Make) -> None:
    root = kermany(
        "CNV/CNV-1-1.jpeg", "CSR/CSR-1-1.jpeg", "CNV/DME-2-1.jpeg", "CNV/scan.jpeg", "CNV/.DS_Store.jpeg"
    )
    reading = read(root)
    assert [c.name for c in reading.candidates] == ["train/CNV/CNV-1-1.jpeg"]
    assert {(row.path, row.reason) for row in reading.quarantined} == {
        ("train/CSR/CSR-1-1.jpeg", "bad_label"),
        ("train/CNV/DME-2-1.jpeg", "bad_label"),
        ("train/CNV/scan.jpeg", "bad_row"),
    }


def test_case_and_extension_do_not_matter(kermany: Make) -> None:
    root = kermany("cnv/cnv-1-1.PNG", part="Train")
    assert [c.labels for c in read(root).candidates] == [("cnv",)]


def test_an_empty_layout_is_found_but_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "OCT2017" / "train").mkdir(parents=True)
    assert find(tmp_path) == [tmp_path / "OCT2017"]
    assert read(tmp_path / "OCT2017").candidates == []


@pytest.mark.shared
def test_the_real_scans(shared: Path) -> None:
    folders = find(shared)
    assert folders == [shared / "OCT2017"]
    reading = ADAPTER.read(folders[0])
    labels = [c.labels[0] for c in reading.candidates]
    assert {label: labels.count(label) for label in set(labels)} == {
        "cnv": 7,
        "dme": 7,
        "drusen": 3,
        "normal": 2,
    }
    assert reading.quarantined == []
