"""Benchmark questions about the held-out drawings, in the layouts of FunBench and OmniMedVQA.

The file formats are the published ones (see `benchmarks`); the questions are worded here. What is
asked is what was drawn, so the right answers are exact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fundus_r1.datasets.synth.layout import Shown
from fundus_r1.datasets.synth.paint import generator
from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.rows import Modality

_SOURCES = {Modality.CFP: "IDRiD", Modality.OCT: "UCSD", Modality.UWF: "TOP"}
"""Folder of a modality's images below FunBench's ``datasets_preprocessed``."""
_TECHNIQUES = {
    Modality.CFP: "Color fundus photography (CFP)",
    Modality.OCT: "Optical coherence tomography (OCT)",
    Modality.UWF: "Ultra-widefield fundus imaging (UWF)",
}
_OMNI = {
    Modality.CFP: ("Synthetic CFP", "Fundus Photography"),
    # The second parenthesis is lacking in OmniMedVQA too.
    Modality.OCT: ("Synthetic OCT", "OCT (Optical Coherence Tomography"),
}
"""Modality -> OmniMedVQA's dataset and ``modality_type``."""
_SIDES = ("Left eye", "Right eye")
_LESIONS = {
    "L3a1-lesion_recognition-Haemorrhage": (Modality.CFP, "retinal_hemorrhage", "haemorrhages"),
    "L3a2-lesion_recognition-Hard_exudate": (Modality.CFP, "hard_exudate", "hard exudates"),
    "L3a3-lesion_recognition-Intraretinal_Fluid": (Modality.OCT, "intraretinal_fluid", "intraretinal fluid"),
    "L3a5-lesion_recognition-Microaneurysm": (Modality.CFP, "microaneurysm", "microaneurysms"),
    "L3a6-lesion_recognition-Neovascularization": (Modality.CFP, "neovascularization", "new vessels"),
    "L3a7-lesion_recognition-Pigment_Epithelial_Detachment": (
        Modality.OCT,
        "pigment_epithelial_detachment",
        "a detachment of the pigment epithelium",
    ),
    "L3a10-lesion_recognition-Subretinal_Fluid": (Modality.OCT, "subretinal_fluid", "subretinal fluid"),
}
"""FunBench's file -> modality, finding, and how it is asked for."""
_HEALTHY = ("normal", "no_dr")
_LETTERS = "ABCDEF"

Item = tuple[Shown, str, list[str], str]
"""An image, a question, its options, and the right one."""


def write_funbench(folder: Path, shown: Sequence[Shown], seed: int) -> None:
    """Files of L1a, L1b, L2b, L3a, L4a and L4c, and the images beside them."""
    for image in shown:
        path = folder / "datasets_preprocessed" / _SOURCES[image.modality] / image.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.data)
    for name, items in {**_perception(shown, seed), **_lesions(shown), **_diagnoses(shown)}.items():
        data = {f"{_SOURCES[item[0].modality]}/{item[0].name}": _funbench_item(item) for item in items}
        _write_json(folder / f"{name}.json", {"data": data})


def _perception(shown: Sequence[Shown], seed: int) -> dict[str, list[Item]]:
    """Levels 1 and 2."""
    kinds = ["Fundus image", "Chest radiograph", "Brain MRI", "Photo of the skin"]
    techniques = list(_TECHNIQUES.values())
    coarse, fine, laterality = [], [], []
    for image in shown:
        question = "What kind of medical image is this?"
        coarse.append((image, question, _mixed(kinds, seed, "L1a", image), kinds[0]))
        question, right = "By which technique was this fundus image taken?", _TECHNIQUES[image.modality]
        fine.append((image, question, _mixed(techniques, seed, "L1b", image), right))
        if image.left_eye is not None:
            question = "Of which eye is this image?"
            laterality.append((image, question, _mixed(_SIDES, seed, "L2b", image), _side(image)))
    return {
        "L1-modality_perception/L1a-coarse_modality_perception": coarse,
        "L1-modality_perception/L1b-fine_modality_perception": fine,
        "L2-anatomy_perception/L2b-laterality": laterality,
    }


def _lesions(shown: Sequence[Shown]) -> dict[str, list[Item]]:
    """Level 3; Yes comes first, as in FunBench."""
    return {
        f"L3-lesion_analysis/L3a-lesion_recognition/{stem}": [
            (image, f"Does this image show {words}?", ["Yes", "No"], _yes(finding in image.drawing.findings))
            for image in shown
            if image.modality is modality
        ]
        for stem, (modality, finding, words) in _LESIONS.items()
    }


def _diagnoses(shown: Sequence[Shown]) -> dict[str, list[Item]]:
    """Level 4."""
    abnormal, grade = "Does this image show an abnormality?", "Which grade of diabetic retinopathy is this?"
    return {
        "L4-disease_diagnosis/L4a-binary_condition_diagnosis": [
            (image, abnormal, ["Yes", "No"], _yes(image.labels[0] not in _HEALTHY)) for image in shown
        ],
        "L4-disease_diagnosis/L4c-dr_grading": [
            (image, grade, _grades(), _name(image)) for image in shown if image.modality is Modality.CFP
        ],
    }


def _funbench_item(item: Item) -> dict[str, Any]:
    _, question, options, right = item
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(_LETTERS, options, strict=False))
    return {
        "gt": _LETTERS[options.index(right)],
        "E-mode2": None,
        "E-mode3": "Please choose the most suitable option to answer the question about the image.\n"
        f"The question is: {question}\n{listed}",
        "raw_data": {"gt": right, "options": options},
    }


def write_omnimedvqa(folder: Path, shown: Sequence[Shown], seed: int) -> None:
    """Modality recognition, disease diagnosis, lesion grading and anatomy identification."""
    for modality, (dataset, kind) in _OMNI.items():
        items: list[dict[str, str]] = []
        for image in (image for image in shown if image.modality is modality):
            path = f"Images/{dataset}/test/{image.name}"
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(image.data)
            for question_type, question, options, right in _omni_questions(image, seed):
                mixed = _mixed(options, seed, f"omni {question_type}", image)
                items.append(
                    {
                        "dataset": dataset,
                        "question_id": f"{dataset}_{len(items):04d}",
                        "question_type": question_type,
                        "question": question,
                        "gt_answer": right,
                        "image_path": path,
                        **{f"option_{letter}": text for letter, text in zip(_LETTERS, mixed, strict=False)},
                        "modality_type": kind,
                    }
                )
        _write_json(folder / "QA_information" / "Open-access" / f"{dataset}.json", items)


def _omni_questions(image: Shown, seed: int) -> list[tuple[str, str, list[str], str]]:
    """Question type, question, options and the right one."""
    techniques = [_TECHNIQUES[Modality.CFP], _TECHNIQUES[Modality.OCT], "Ultrasound", "Chest radiography"]
    recognition = "How was this image of an eye taken?"
    diagnosis = "What does this image of the retina show?"
    asked = [("Modality Recognition", recognition, techniques, _TECHNIQUES[image.modality])]
    if image.modality is Modality.OCT:
        diseases = [LABELS[label].name for label in TASKS["oct_disease"].labels]
        return [*asked, ("Disease Diagnosis", diagnosis, diseases, _name(image))]
    right = "No diabetic retinopathy" if image.labels[0] == "no_dr" else "Diabetic retinopathy"
    diseases = ["Diabetic retinopathy", "No diabetic retinopathy", "Retinal detachment", "Macular hole"]
    # OmniMedVQA has four options at most.
    others = [name for name in _mixed(_grades(), seed, "omni grades", image) if name != _name(image)]
    grades = [_name(image), *others[:3]]
    return [
        *asked,
        ("Disease Diagnosis", diagnosis, diseases, right),
        ("Lesion Grading", "How advanced is the retinopathy in this photo?", grades, _name(image)),
        ("Anatomy Identification", "Is this the left or the right eye?", list(_SIDES), _side(image)),
    ]


def _grades() -> list[str]:
    return [LABELS[label].name for label in TASKS["dr_grading"].labels]


def _name(image: Shown) -> str:
    return LABELS[image.labels[0]].name


def _side(image: Shown) -> str:
    return _SIDES[0] if image.left_eye else _SIDES[1]


def _yes(value: bool) -> str:
    return "Yes" if value else "No"


def _mixed(options: Sequence[str], seed: int, task: str, image: Shown) -> list[str]:
    order = generator(seed, "options", task, image.name).permutation(len(options))
    return [options[int(at)] for at in order]


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
