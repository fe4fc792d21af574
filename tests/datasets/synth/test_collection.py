"""The drawn collection: its layouts, its ground truth, its determinism."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_r1.benchmarks import load_benchmark
from fundus_r1.datasets import ADAPTERS
from fundus_r1.datasets.collect import Collection, collect
from fundus_r1.datasets.digest import data_digest
from fundus_r1.datasets.images import Limits
from fundus_r1.datasets.synth import draw_collection, idrid_set, oct, top_set
from fundus_r1.datasets.synth.uwf_diseases import DISEASES
from fundus_r1.errors import DataError
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Split
from fundus_r1.spec.science import Synthetic

SMALL = Synthetic(seed=3, patients=4, masked=6, benchmark=5, size=64)
# What knowledge says of the grades of which masks are drawn: required, and required + supportive.
REQUIRED = {
    "mild_npdr": {"microaneurysm"},
    "moderate_npdr": {"microaneurysm", "retinal_hemorrhage"},
    "severe_npdr": {"microaneurysm", "retinal_hemorrhage"},
}
DRAWN = ("idrid", "kermany", "top")
SUPPORTIVE = {"hard_exudate", "cotton_wool_spot"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "new"
    draw_collection(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def collections(small: Path) -> dict[str, Collection]:
    found = {}
    for name, adapter in ADAPTERS.items():
        readings = [(folder, adapter.read(folder)) for folder in adapter.find(small)]
        if name not in DRAWN:
            assert readings == []
            continue
        assert len(readings) == 1
        found[name] = collect(adapter, readings, Limits(), lambda patient: Split.TRAIN, lambda: None)
    return found


def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    again = Synthetic(seed=3, patients=4, masked=6, benchmark=5, size=64)
    draw_collection(tmp_path / "again", again)
    assert data_digest([tmp_path / "again"]) == data_digest([small])
    draw_collection(tmp_path / "other", SMALL.model_copy(update={"seed": 4}))
    assert data_digest([tmp_path / "other"]) != data_digest([small])


def test_more_patients_change_none_that_are_there(small: Path, tmp_path: Path) -> None:
    draw_collection(tmp_path, SMALL.model_copy(update={"patients": 5, "benchmark": 0}))
    for name in ("OCT2017/train", "TOP/img"):
        for path in (small / name).rglob("*.jp*g"):
            assert (tmp_path / path.relative_to(small)).read_bytes() == path.read_bytes()


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match="not empty"):
        draw_collection(tmp_path, SMALL)
    with pytest.raises(DataError, match="not empty"):
        draw_collection(tmp_path / "mine.txt", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_every_image_is_read_back_and_nothing_is_set_aside(collections: dict[str, Collection]) -> None:
    # Both eyes of each patient, and photos without masks besides those with.
    assert {name: len(c.samples) for name, c in collections.items()} == {"idrid": 10, "kermany": 8, "top": 8}
    assert [row for c in collections.values() for row in c.quarantined] == []


def test_numbers_are_above_the_real_ones(collections: dict[str, Collection]) -> None:
    assert all(int(i.sample.patient.split("_")[1]) > 516 for i in collections["idrid"].samples)
    assert all(i.sample.patient.startswith("kermany:90000000") for i in collections["kermany"].samples)
    assert all(int(i.sample.patient.split(":")[1]) > 100_000 for i in collections["top"].samples)


def test_patients_are_repeated_and_in_two_class_folders(tmp_path: Path) -> None:
    draw_collection(tmp_path, Synthetic(patients=4, masked=0, benchmark=0, size=64))
    candidates = ADAPTERS["kermany"].read(tmp_path / "OCT2017").candidates
    classes = {p: {c.labels for c in candidates if c.patient == p} for p in {c.patient for c in candidates}}
    assert sorted(len(found) for found in classes.values()) == [1, 1, 1, 2]
    eyes = [(c.patient, c.eye) for c in ADAPTERS["top"].read(tmp_path / "TOP").candidates]
    assert len(set(eyes)) == len(eyes) == 8


def test_pixel_findings_are_those_that_the_grade_demands(collections: dict[str, Collection]) -> None:
    masked = [i.sample for i in collections["idrid"].samples if i.sample.findings is not None]
    assert len(masked) == SMALL.masked
    for sample in masked:
        present, required = set(sample.findings or ()), REQUIRED[sample.labels[0]]
        assert required <= present <= required | (SUPPORTIVE if sample.labels[0] != "mild_npdr" else set())
    unmasked = {i.sample.labels[0] for i in collections["idrid"].samples if i.sample.findings is None}
    assert {"no_dr", "pdr"} <= unmasked


def test_segmentation_numbers_are_other_images_than_the_same_grading_numbers(small: Path) -> None:
    graded = small / "IDRiD/B. Disease Grading/1. Original Images/a. Training Set"
    segmented = sorted((small / "IDRiD/A. Segmentation/1. Original Images/a. Training Set").iterdir())
    assert len(segmented) == SMALL.masked
    contents = {path.read_bytes() for path in graded.iterdir()}
    for path in segmented:
        assert path.read_bytes() in contents
        assert path.read_bytes() != (graded / path.name).read_bytes()


def test_masks_lie_on_the_lesions(tmp_path: Path) -> None:
    draw_collection(tmp_path, Synthetic(patients=4, masked=3, benchmark=0, size=224))
    masks = tmp_path / "IDRiD/A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"
    images = tmp_path / "IDRiD/A. Segmentation/1. Original Images/a. Training Set"
    checked = 0
    for path in masks.rglob("*_HE.tif"):
        mask = np.asarray(Image.open(path)) > 0
        photo = np.asarray(Image.open(images / path.name.replace("_HE.tif", ".jpg")), dtype=float)
        assert 0 < mask.mean() < 0.1
        # Blood is darker in green than the retina around the macula.
        assert photo[mask][:, 1].mean() < 0.6 * photo[60:160, 60:160, 1].mean()
        checked += 1
    assert checked == 2


def test_the_benchmarks_can_be_read_and_ask_about_other_patients(
    small: Path, collections: dict[str, Collection]
) -> None:
    funbench = load_benchmark("funbench", small)
    omni = load_benchmark("omnimedvqa", small)
    assert {q.task for q in funbench} == {"L1a", "L1b", "L2b", "L3a", "L4a", "L4c"}
    assert {q.task for q in omni} == {"MR", "AI", "LG", "DD"}
    assert all(q.modality is not None and q.question.endswith("?") for q in [*funbench, *omni])
    samples = [i for c in collections.values() for i in c.samples]
    patients = {i.sample.patient for i in samples}
    digests = {i.sample.digest for i in samples}
    for question in [*funbench, *omni]:
        assert question.patient not in patients
        assert hashlib.sha256(question.file.read_bytes()).hexdigest() not in digests


def test_the_right_answers_are_what_was_drawn(small: Path) -> None:
    table = small / "IDRiD/B. Disease Grading/2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv"
    grades = dict(line.split(",")[:2] for line in table.read_text().splitlines()[1:])
    asked = {q.question_id: q for q in load_benchmark("funbench", small)}
    for name, grade in grades.items():
        image = f"IDRiD/{name}.jpg"
        assert asked[f"L4c-dr_grading/{image}"].answers == ("ABCDE"[int(grade)],)
        yes = "A" if int(grade) >= 1 else "B"
        assert asked[f"L3a5-lesion_recognition-Microaneurysm/{image}"].answers == (yes,)
        assert asked[f"L4a-binary_condition_diagnosis/{image}"].answers == (yes,)
        new_vessels = asked[f"L3a6-lesion_recognition-Neovascularization/{image}"]
        assert new_vessels.answers == ("A" if int(grade) == 4 else "B",)


def test_yes_comes_first_and_the_letters_agree_with_the_texts(small: Path) -> None:
    for path in (small / "FunBench").rglob("*.json"):
        for item in json.loads(path.read_text())["data"].values():
            options, right = item["raw_data"]["options"], item["raw_data"]["gt"]
            assert item["gt"] == "ABCDEF"[options.index(right)]
            if "Yes" in options:
                assert options == ["Yes", "No"]


def test_all_labels_of_all_tasks_are_drawn_with_the_default_number_of_patients() -> None:
    drawn = {label for eyes in top_set._EYES for labels in eyes for label in labels or ("normal",)}
    assert drawn == set(TASKS["uwf_disease"].labels)
    assert len(top_set._EYES) <= Synthetic().patients
    assert set(oct.LABELS) == set(TASKS["oct_disease"].labels)
    assert {*idrid_set._MASKED_GRADES, *idrid_set._OTHER_GRADES} == set(range(5))
    shown = {f for _, findings in DISEASES.values() for f in findings} | {
        f for findings in oct.FINDINGS.values() for f in findings
    }
    assert shown <= set(FINDINGS)
