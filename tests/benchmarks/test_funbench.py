from __future__ import annotations

import pytest

from fundus_r1.benchmarks import load_benchmark
from fundus_r1.benchmarks.funbench import SEVERAL, modality_of, question_text
from fundus_r1.errors import DataError
from fundus_r1.rows import Modality


def test_reads_a_question(fun, fun_item):
    root = fun({"IDRiD/test/1.png": fun_item()})
    (question,) = load_benchmark("funbench", root)
    assert question.question_id == "L4a-binary_condition_diagnosis/IDRiD/test/1.png"
    assert (question.task, question.subtask) == ("L4a", "L4a-binary_condition_diagnosis")
    assert question.question == "Is there a drusen?"
    assert question.options == {"A": "Yes", "B": "No"}
    assert question.answers == ("B",)
    assert question.modality is Modality.CFP
    assert question.file == root / "FunBench/datasets_preprocessed/IDRiD/test/1.png"


def test_numbered_files_of_a_task(fun, fun_item):
    folder = "L3-lesion_analysis/L3a-lesion_recognition"
    fun({"DDR/1.png": fun_item()}, f"{folder}/L3a10-lesion_recognition-Subretinal_Fluid.json")
    root = fun({"DDR/1.png": fun_item()}, f"{folder}/L3a2-lesion_recognition-Hard_exudate.json")
    found = load_benchmark("funbench", root)
    assert {q.task for q in found} == {"L3a"}
    assert len({q.question_id for q in found}) == 2


def test_multi_label(fun, fun_item):
    raw = {"gt": ["Glaucoma", "AMD"], "options": ["AMD", "DR", "Glaucoma"]}
    root = fun({"a/1.png": fun_item(gt="C,A", raw_data=raw)}, "L4-disease_diagnosis/L4b-multi.json")
    (question,) = load_benchmark("funbench", root)
    assert question.answers == ("A", "C")
    assert question.question.endswith(SEVERAL)


@pytest.mark.parametrize("images", ["datasets_preprocessed", "../datasets_preprocessed", ".", ".."])
def test_places_of_images(fun, fun_item, images):
    root = fun({"DDR/1.png": fun_item()}, images=images)
    assert load_benchmark("funbench", root)[0].file.is_file()
    assert load_benchmark("funbench", root / "FunBench")[0].file.is_file()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"raw_data": None}, "raw_data"),
        ({"raw_data": {"gt": "No", "options": "Yes"}}, "raw_data.options"),
        ({"raw_data": {"gt": "Maybe", "options": ["Yes", "No"]}}, "raw_data.gt"),
        ({"raw_data": {"options": ["Yes", "No"]}}, "raw_data.gt"),
        ({"raw_data": {"gt": [], "options": ["Yes", "No"]}}, "raw_data.gt"),
        ({"raw_data": {"gt": ["No", 3], "options": ["Yes", "No"]}}, "raw_data.gt"),
        ({"gt": "A"}, "gt"),
        ({"gt": None}, "gt"),
        ({"E-mode3": None}, "E-mode3"),
    ],
)
def test_a_bad_question_is_refused_by_name(fun, fun_item, changes, field):
    root = fun({"IDRiD/1.png": fun_item(**changes)})
    with pytest.raises(DataError) as caught:
        load_benchmark("funbench", root)
    assert "L4a-binary_condition_diagnosis.json" in caught.value.where
    assert "IDRiD/1.png" in caught.value.where
    assert caught.value.where.endswith(f"field {field}")
    assert caught.value.hint


def test_a_missing_image_is_refused(fun, fun_item):
    root = fun({"IDRiD/1.png": fun_item()})
    (root / "FunBench/datasets_preprocessed/IDRiD/1.png").unlink()
    with pytest.raises(DataError, match=r"IDRiD/1\.png") as caught:
        load_benchmark("funbench", root)
    assert "datasets_preprocessed/IDRiD/1.png" in caught.value.hint


def test_a_file_without_data_is_refused(fun):
    root = fun([1, 2])
    with pytest.raises(DataError, match="data"):
        load_benchmark("funbench", root)


OPTIONS = {"A": "Mild (NPDR)", "B": "PDR"}


@pytest.mark.parametrize(
    "prompt",
    [
        "Please choose the option.\nThe question is: Which level?\nOptions: A. Mild (NPDR)\nB. PDR",
        "Description: drusen are A. B.\nThe question is: Which level?\nA: Mild (NPDR), B: PDR",
        "The question is: Which level? (A) Mild (NPDR) (B) PDR",
        "The question is: Which level? The options are: [A. Mild (NPDR), B. PDR]",
        "The question is: Which level?",
        "Which level?",
    ],
)
def test_the_bare_question(prompt):
    assert question_text(prompt, OPTIONS) == "Which level?"


@pytest.mark.parametrize(
    ("image", "modality"),
    [
        ("OIA-ODIR/a.jpg", Modality.CFP),
        ("Retinal-Lesions/a.jpg", Modality.CFP),
        ("OCTDL/AMD/a.jpg", Modality.OCT),
        ("TOP/img/a.jpg", Modality.UWF),
        ("MMC-AMD/oct-median3x3/a.jpg", Modality.OCT),
        ("MMC-AMD/cfp-clahe/a.jpg", Modality.CFP),
        ("DeepDRiD/a.jpg", None),
        ("synthetic/UWF/a.png", Modality.UWF),
    ],
)
def test_modality_of_an_image(image, modality):
    assert modality_of(image) is modality
