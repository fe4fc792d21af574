"""OIMHS' layout and its traps."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from dataset_layouts import mask, oimhs, photo
from PIL import Image

from fundus_r1.datasets.collect import Collection, collect
from fundus_r1.datasets.images import Limits, travelling_bytes
from fundus_r1.datasets.oimhs import ADAPTER, find, read
from fundus_r1.rows import Split


def gather(folder: Path) -> Collection:
    return collect(ADAPTER, [(folder, read(folder))], Limits(16), lambda _: Split.TRAIN, lambda: None)


def test_the_colours_of_the_right_half_are_findings_and_retina_and_choroid_are_none(tmp_path: Path) -> None:
    found = {i.sample.path: (i.sample.labels, i.sample.findings) for i in gather(oimhs(tmp_path)).samples}
    assert found == {
        "Images/1/1.png": (("macular_hole",), ("full_thickness_macular_defect", "intraretinal_fluid")),
        "Images/1/2.png": (("macular_hole",), ()),
        "Images/2/1.png": (("macular_hole",), ()),
    }


def test_only_the_left_half_travels(tmp_path: Path) -> None:
    folder = oimhs(tmp_path)
    item = gather(folder).samples[0]
    assert (item.sample.width, item.sample.height) == (512, 64)
    travelled = Image.open(io.BytesIO(travelling_bytes(item.file, item.facts, Limits(16))))
    whole = Image.open(folder / "Images/1/1.png")
    assert np.array_equal(np.asarray(travelled), np.asarray(whole)[:, :512])


def test_an_eye_stands_for_a_patient(tmp_path: Path) -> None:
    assert [c.patient for c in read(oimhs(tmp_path)).candidates] == ["oimhs:1", "oimhs:1", "oimhs:2"]


def test_a_picture_beside_the_eyes_is_set_aside(tmp_path: Path) -> None:
    folder = oimhs(tmp_path)
    photo(folder / "Images" / "overview.png", 1)
    assert [(r.path, r.reason) for r in read(folder).quarantined] == [("Images/overview.png", "bad_row")]


def test_numbered_folders_of_other_pictures_are_another_dataset(tmp_path: Path) -> None:
    mask(tmp_path / "Images" / "1" / "1.png", size=(512, 512))
    photo(tmp_path / "Images" / "2" / "1.jpg", 1, size=(1024, 64))
    assert find(tmp_path) == []
