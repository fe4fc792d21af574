"""JSIEC's layout and its traps."""

from __future__ import annotations

from pathlib import Path

from dataset_layouts import jsiec, photo

from fundus_r1.datasets.jsiec import CLASSES, find, read
from fundus_r1.ontology.labels import LABELS


def test_the_folder_is_the_label_whatever_the_file_is_called(tmp_path: Path) -> None:
    found = {c.name: c.labels for c in read(jsiec(tmp_path)).candidates}
    assert found == {
        "0.0.Normal/0c0a-4b..JPG": ("normal",),
        "0.3.DR1/0c1a-4b..JPG": ("mild_npdr",),
        "10.0.Possible glaucoma/0c3a-4b..JPG": ("glaucoma",),
        "2.0.BRVO/0c2a-4b..JPG": ("brvo",),
        "29.0.Blur fundus without PDR/0c4a-4b..JPG": ("blurred_fundus",),
    }


def test_all_39_published_classes_are_known() -> None:
    assert len(CLASSES) == 39
    assert set(CLASSES.values()) <= LABELS.keys()


def test_an_unknown_class_is_set_aside(tmp_path: Path) -> None:
    folder = jsiec(tmp_path)
    photo(folder / "31.0.Something new" / "a.jpg", 1)
    assert [(row.path, row.reason) for row in read(folder).quarantined] == [
        ("31.0.Something new/a.jpg", "bad_label")
    ]


def test_two_numbered_folders_are_no_dataset(tmp_path: Path) -> None:
    for name in ("0.0.Normal", "0.3.DR1", "1.0.Invoices"):
        (tmp_path / name).mkdir()
    assert find(tmp_path) == []
