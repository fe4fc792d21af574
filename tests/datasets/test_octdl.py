"""OCTDL's layout and its traps."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_layouts import octdl, photo, table

from fundus_r1.datasets.octdl import find, read
from fundus_r1.errors import DataError


def test_the_table_names_disease_and_patient(tmp_path: Path) -> None:
    found = {c.name: (c.labels, c.patient, c.eye, c.attributes) for c in read(octdl(tmp_path)).candidates}
    assert found == {
        "AMD/amd_1047099_1.jpg": (("amd",), "octdl:7", "right", {"sex": "F"}),
        "NO/no_1_1.jpg": (("normal",), "octdl:8", "left", {"sex": "F"}),
        "NO/no_1_2.jpg": (("normal",), "octdl:8", "left", {"sex": "F"}),
    }


def test_the_authors_own_names_are_found_too(tmp_path: Path) -> None:
    folder = octdl(tmp_path).rename(tmp_path / "OCTDL_dataset")
    (folder / "OCTDL_labels.csv").rename(folder / "labels.csv")
    assert find(tmp_path) == [folder]
    assert len(read(folder).candidates) == 3


def test_another_table_of_labels_is_another_dataset(tmp_path: Path) -> None:
    table(tmp_path / "labels.csv", "file_name,label", "a,1")
    assert find(tmp_path) == []


def test_bad_rows_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = octdl(tmp_path)
    for number in range(1, 6):
        photo(folder / "DME" / f"dme_{number}.jpg", number)
    table(
        folder / "OCTDL_labels.csv",
        "file_name,disease,patient_id",
        "dme_1,DME,1", "dme_2,DME,", "dme_3,,1", "dme_4,XYZ,1", "dme_5,ERM,1", "dme_9,DME,1", "no_1_1,NO,8",
        "no_1_2,NO,8",
    )  # fmt: skip
    reading = read(folder)
    assert [c.file.name for c in reading.candidates] == ["dme_1.jpg", "no_1_1.jpg", "no_1_2.jpg"]
    assert {(row.path.rsplit("/", 1)[-1], row.reason) for row in reading.quarantined} == {
        ("dme_2.jpg", "bad_row"),
        ("dme_3.jpg", "unlabelled"),
        ("dme_4.jpg", "bad_label"),
        ("dme_5.jpg", "bad_label"),
        ("dme_9", "missing"),
        ("amd_1047099_1.jpg", "unlabelled"),
    }


def test_a_lacking_column_is_named(tmp_path: Path) -> None:
    folder = octdl(tmp_path)
    table(folder / "OCTDL_labels.csv", "file_name,disease")
    with pytest.raises(DataError, match="patient_id"):
        read(folder)
