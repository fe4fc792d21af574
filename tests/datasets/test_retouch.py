"""RETOUCH's layouts and their traps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dataset_layouts import retouch, volume

from fundus_r1.datasets.collect import collect
from fundus_r1.datasets.images import Limits
from fundus_r1.datasets.retouch import ADAPTER, find, read
from fundus_r1.rows import Split

CASE = "Cirrus/TRAIN000"


def test_the_fluids_of_a_b_scan_are_its_labels_and_its_findings(tmp_path: Path) -> None:
    folder = retouch(tmp_path)
    result = collect(ADAPTER, [(folder, read(folder))], Limits(16), lambda _: Split.TRAIN, lambda: None)
    found = {i.sample.path: (i.sample.labels, i.sample.findings) for i in result.samples}
    assert len(found) == 8
    assert {path: value for path, value in found.items() if path.startswith("Spectralis")} == {
        "Spectralis/TRAIN001/000": (("no_fluid",), ()),
        "Spectralis/TRAIN001/001": (("intraretinal_fluid",), ("intraretinal_fluid",)),
        "Spectralis/TRAIN001/002": (
            ("subretinal_fluid", "pigment_epithelial_detachment"),
            ("pigment_epithelial_detachment", "subretinal_fluid"),
        ),
        "Spectralis/TRAIN001/003": (("no_fluid",), ()),
    }
    digests = {item.sample.digest for item in result.samples}
    assert len(digests) == 8


def test_a_case_is_a_patient_and_its_device_an_attribute(tmp_path: Path) -> None:
    candidates = read(retouch(tmp_path)).candidates
    assert {(c.patient, c.attributes["device"]) for c in candidates} == {
        ("retouch:Cirrus/TRAIN000", "cirrus"),
        ("retouch:Spectralis/TRAIN001", "spectralis"),
    }


def test_folders_that_name_set_and_device_at_once_are_found_and_test_sets_are_not_read(
    tmp_path: Path,
) -> None:
    folder = retouch(tmp_path)
    (folder / "Cirrus").rename(folder / "RETOUCH-TrainingSet-Cirrus")
    (folder / "Spectralis").rename(folder / "RETOUCH-TestSet-Spectralis")
    assert find(tmp_path) == [folder]
    assert {c.attributes["device"] for c in read(folder).candidates} == {"cirrus"}


def test_the_archives_own_folders_around_each_device_are_found(tmp_path: Path) -> None:
    folder = retouch(tmp_path)
    for device in ("Cirrus", "Spectralis"):
        (folder / f"Training{device}").mkdir()
        (folder / device).rename(folder / f"Training{device}" / f"RETOUCH-TrainingSet-{device}")
    found = find(tmp_path)
    assert found == [folder / "TrainingCirrus", folder / "TrainingSpectralis"]
    assert [len(read(place).candidates) for place in found] == [4, 4]


def test_a_bad_case_is_set_aside_with_its_reason_and_the_others_are_kept(tmp_path: Path) -> None:
    folder = retouch(tmp_path)
    (folder / CASE / "reference.mhd").unlink()
    reading = read(folder)
    assert len(reading.candidates) == 4
    assert [(row.path, row.reason) for row in reading.quarantined] == [(CASE, "bad_row")]
    volume(folder / CASE / "reference.mhd", np.zeros((4, 40, 50), np.uint8))
    assert "(50, 40, 4)" in read(folder).quarantined[0].detail


def test_an_unknown_value_of_the_reference_is_no_fluid(tmp_path: Path) -> None:
    folder = retouch(tmp_path)
    reference = np.zeros((4, 40, 48), np.uint8)
    reference[3, 3, 3] = 7
    volume(folder / CASE / "reference.mhd", reference)
    assert [(r.path, r.reason) for r in read(folder).quarantined] == [(f"{CASE}/003", "bad_label")]
