from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fundus_r1.benchmarks import load_benchmark
from fundus_r1.benchmarks.omnimedvqa import modality_of
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality


def test_reads_an_item(omni, omni_item):
    root = omni(omni_item())
    (question,) = load_benchmark("omnimedvqa", root)
    assert question.question_id == "JSIEC_0001"
    assert (question.task, question.subtask, question.modality) == ("DD", "JSIEC", Modality.CFP)
    assert question.options == {"A": "Normal", "B": "Drusen", "C": "Glaucoma", "D": "CNV"}
    assert question.answers == ("B",)
    assert question.image == "Images/JSIEC/1.png"
    assert question.file == root / "OmniMedVQA/Images/JSIEC/1.png"
    assert question.patient is None


def test_keeps_eyes_and_the_papers_four_types_only(omni, omni_item):
    types = ["Modality Recognition", "Anatomy Identification", "Lesion Grading", "Disease Diagnosis"]
    kept = [omni_item(question_id=str(n), question_type=kind) for n, kind in enumerate(types)]
    dropped = [
        omni_item(question_id="o", question_type="Other Biological Attributes"),
        omni_item(question_id="x", modality_type="X-Ray", image_path="Images/not/there.png"),
        omni_item(question_id="m", modality_type="MR (Mag-netic Resonance Imaging"),
    ]
    found = load_benchmark("omnimedvqa", omni(*kept, *dropped))
    assert [question.task for question in found] == ["MR", "AI", "LG", "DD"]


@pytest.mark.parametrize(
    ("text", "modality"),
    [
        ("Fundus Photography", Modality.CFP),
        ("OCT (Optical Coherence Tomography", Modality.OCT),
        ("OCT (Optical Coherence Tomography)", Modality.OCT),
        ("Ultra-Widefield Fundus Photography", Modality.UWF),
        ("CT(Computed Tomography)", None),
        ("ultrasound", None),
    ],
)
def test_modality_names(text, modality):
    assert modality_of(text) is modality


def test_missing_third_and_fourth_option(omni, omni_item):
    (question,) = load_benchmark("omnimedvqa", omni(omni_item(option_C=..., option_D=None)))
    assert question.options == {"A": "Normal", "B": "Drusen"}


def test_answer_is_matched_whatever_its_case_and_spaces(omni, omni_item):
    (question,) = load_benchmark("omnimedvqa", omni(omni_item(gt_answer=" dRusen ")))
    assert question.answers == ("B",)


def test_restricted_access_is_read_too(omni, omni_item):
    omni(omni_item())
    root = omni(omni_item(question_id="r"), access="Restricted-access", name="Other")
    assert [q.question_id for q in load_benchmark("omnimedvqa", root)] == ["JSIEC_0001", "r"]


def test_found_at_the_root_itself_and_not_in_an_empty_folder(omni, omni_item, tmp_path):
    root = omni(omni_item())
    assert len(load_benchmark("omnimedvqa", root / "OmniMedVQA")) == 1
    assert load_benchmark("funbench", root) == []
    (tmp_path / "empty").mkdir()
    assert load_benchmark("omnimedvqa", tmp_path / "empty") == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"gt_answer": "Cataract"}, "gt_answer"),
        ({"gt_answer": ...}, "gt_answer"),
        ({"question": ...}, "question"),
        ({"question": 7}, "question"),
        ({"modality_type": ...}, "modality_type"),
        ({"option_B": ..., "option_C": ..., "option_D": ...}, "option_A"),
        ({"image_path": "Images/JSIEC/absent.png"}, "image"),
    ],
)
def test_a_bad_item_is_refused_by_name(omni, omni_item, changes, field):
    root = omni(omni_item(**changes))
    with pytest.raises(DataError) as caught:
        load_benchmark("omnimedvqa", root)
    assert "JSIEC.json" in caught.value.where
    assert "JSIEC_0001" in caught.value.where
    assert field in caught.value.where
    assert caught.value.hint


def test_a_missing_image_names_the_path_that_was_tried(omni, omni_item):
    root = omni(omni_item(image_path="Images/JSIEC/absent.png"))
    with pytest.raises(DataError, match=r"absent\.png") as caught:
        load_benchmark("omnimedvqa", root)
    assert str(root / "OmniMedVQA/Images/JSIEC/absent.png") in caught.value.hint


@pytest.mark.parametrize("content", ["{", "", "version https://git-lfs", "[1]", '{"a": 1}', "\xff"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str):
    file = tmp_path / "QA_information/Open-access/X.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        load_benchmark("omnimedvqa", tmp_path)
    assert "X.json" in caught.value.where
    assert caught.value.hint


def test_the_same_id_twice_is_refused(omni, omni_item):
    with pytest.raises(DataError, match="JSIEC_0001"):
        load_benchmark("omnimedvqa", omni(omni_item(), omni_item()))


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(DataError, match="There is no benchmark"):
        load_benchmark("medbench", tmp_path)


@pytest.mark.shared
def test_real_questions(shared):
    found = load_benchmark("omnimedvqa", shared)
    assert len(found) == 21
    assert Counter(q.task for q in found) == {"DD": 18, "MR": 3}
    assert {q.modality for q in found} == {Modality.OCT}
    assert all(q.patient and q.patient.removeprefix("kermany:").isdigit() for q in found)
    assert all(q.file.is_file() for q in found)
    for question in found:
        if question.task == "DD" and "/DRUSEN/" in question.image:
            assert question.patient == "kermany:" + question.image.split("-")[-2]
