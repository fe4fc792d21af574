"""OmniMedVQA (Hu et al., CVPR 2024), of which the paper keeps the fundus part: Omni-Fundus.

Layout, as published::

    QA_information/{Open-access,Restricted-access}/<dataset>.json
    Images/<dataset>/...

A file is a list of items with ``dataset``, ``question_id``, ``question_type``, ``question``,
``gt_answer`` (the text of the right option), ``image_path`` (from the folder that holds
``QA_information``), ``option_A`` ... ``option_D`` (the last two may be missing) and ``modality_type``.
Kept are the modalities of the eye and the four question types of the paper's Tab. 5.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fundus_r1.benchmarks.question import Place, RawQuestion, folders, patient_of, read_json, unique
from fundus_r1.rows import Modality

NAME = "omnimedvqa"

TASKS = {
    "modality recognition": "MR",
    "anatomy identification": "AI",
    "lesion grading": "LG",
    "disease diagnosis": "DD",
}
"""Question type -> the paper's abbreviation; "Other Biological Attributes" is not used there."""

_MODALITIES = (
    (re.compile(r"ultra-?\s?wide-?\s?field", re.IGNORECASE), Modality.UWF),
    (re.compile(r"fundus photography", re.IGNORECASE), Modality.CFP),
    (re.compile(r"oct\b|optical coherence tomography", re.IGNORECASE), Modality.OCT),
)
# The published name of OCT is "OCT (Optical Coherence Tomography", without the second parenthesis.

_OPTION = re.compile(r"option_([A-Z])")


def modality_of(text: str) -> Modality | None:
    """The modality that a ``modality_type`` names; None if it shows no eye."""
    return next((modality for pattern, modality in _MODALITIES if pattern.match(text.strip())), None)


def load(root: Path) -> list[RawQuestion]:
    """The questions of Omni-Fundus below a folder; see `benchmarks.load_benchmark`."""
    questions = []
    for folder in folders(root):
        for access in ("Open-access", "Restricted-access"):
            for file in sorted((folder / "QA_information" / access).glob("*.json")):
                questions += _read(file, folder)
    return unique(questions)


def _read(file: Path, base: Path) -> list[RawQuestion]:
    items = read_json(file)
    if not isinstance(items, list):
        Place(file).refuse("A file of OmniMedVQA is no list of questions", "", "download the file again")
    found = []
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            Place(file, f"number {number}").refuse(
                "A question of OmniMedVQA is no object", "", "download the file again"
            )
        question = _question(item, Place(file, str(item.get("question_id", f"number {number}"))), base)
        if question is not None:
            found.append(question)
    return found


def _question(item: dict[str, Any], place: Place, base: Path) -> RawQuestion | None:
    modality = modality_of(place.text(item, "modality_type"))
    task = TASKS.get(place.text(item, "question_type").casefold())
    if modality is None or task is None:
        return None
    options = {
        match[1]: str(value).strip()
        for key, value in sorted(item.items())
        if (match := _OPTION.fullmatch(key)) and value is not None and str(value).strip()
    }
    if len(options) < 2:
        place.refuse("A question has fewer than two options", "option_A", "download the file again")
    image = place.text(item, "image_path")
    return RawQuestion(
        question_id=place.text(item, "question_id"),
        benchmark=NAME,
        task=task,
        subtask=place.text(item, "dataset"),
        question=place.text(item, "question"),
        options=options,
        answers=(place.letter(place.text(item, "gt_answer"), options, "gt_answer"),),
        modality=modality,
        image=image,
        patient=patient_of(image),
        file=place.image(image, [base / image]),
    )
