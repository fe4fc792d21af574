"""FunBench (Wei et al., MICCAI 2025): ten tasks on four levels, L1a ... L4d.

Layout, as published (the images come from 14 public datasets and are not part of it)::

    L1-modality_perception/L1a-coarse_modality_perception.json
    L3-lesion_analysis/L3a-lesion_recognition/L3a0-lesion_recognition-Fibrous_proliferation.json
    ...

A file is ``{"data": {image: {"gt": "A" or "A,C", "E-mode2": text or null, "E-mode3": text,
"raw_data": {"gt": text or [text, ...], "options": [text, ...]}}}}``; a list as ``raw_data.gt`` makes
a question multi-label. Asked is the ``E-mode3`` question, the benchmark's holistic evaluation.

An image is looked for below ``datasets_preprocessed`` and then directly, each time in the folder
that holds ``L1-...`` to ``L4-...``, in the folder above it, and in the data folder given.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fundus_r1.benchmarks.question import (
    LETTERS,
    Place,
    RawQuestion,
    folders,
    patient_of,
    read_json,
    unique,
)
from fundus_r1.rows import Modality

NAME = "funbench"
IMAGES = "datasets_preprocessed"
SEVERAL = "More than one option may be right: name all that are, separated by commas."

_LEVEL = re.compile(r"L[1-4]-.+")
_FILE = re.compile(r"(L[1-4][a-d])\d*-.+\.json")
_QUESTION = re.compile(r"the question is\s*:", re.IGNORECASE)
_HEADING = re.compile(r"(?:the\s+)?(?:options?|choices)(?:\s+(?:are|is|include))?\s*:?\s*$", re.IGNORECASE)

_MODALITIES = {
    "idrid": Modality.CFP,
    "ddr": Modality.CFP,
    "jsiec": Modality.CFP,
    "rfmid": Modality.CFP,
    "odir": Modality.CFP,
    "retinallesions": Modality.CFP,
    "octid": Modality.OCT,
    "octdl": Modality.OCT,
    "oimhs": Modality.OCT,
    "retouch": Modality.OCT,
    "neh": Modality.OCT,
    "ucsd": Modality.OCT,
    "top": Modality.UWF,
}
"""Source datasets with one modality; DeepDRiD and MMC-AMD have two, which the path may name."""


def load(root: Path) -> list[RawQuestion]:
    """FunBench's questions below a folder; see `benchmarks.load_benchmark`."""
    questions = []
    for folder in folders(root):
        for level in sorted(path for path in folder.iterdir() if _LEVEL.fullmatch(path.name)):
            for file in sorted(level.rglob("*.json")):
                match = _FILE.fullmatch(file.name)
                if match:
                    questions += _read(file, match[1], folder, Path(root))
    return unique(questions)


def _read(file: Path, task: str, tree: Path, root: Path) -> list[RawQuestion]:
    content = read_json(file)
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict):
        Place(file).refuse(
            "A file of FunBench has no questions under the key data", "data", "download the file again"
        )
    bases = [tree / IMAGES, tree.parent / IMAGES, root / IMAGES, tree, tree.parent, root]
    return [_question(image, item, Place(file, image), task, bases) for image, item in data.items()]


def _question(image: str, item: Any, place: Place, task: str, bases: list[Path]) -> RawQuestion:
    raw = item.get("raw_data") if isinstance(item, dict) else None
    if not isinstance(raw, dict):
        place.refuse("A question has no raw_data", "raw_data", "download the file again")
    texts = raw.get("options")
    if not isinstance(texts, list) or not 2 <= len(texts) <= len(LETTERS):
        place.refuse(
            "A question has no list of 2 to 26 options", "raw_data.options", "download the file again"
        )
    options = {letter: str(text).strip() for letter, text in zip(LETTERS, texts, strict=False)}
    truth = raw.get("gt")
    given = truth if isinstance(truth, list) else [truth]
    right = [text for text in given if isinstance(text, str) and text.strip()]
    if not right or len(right) < len(given):
        place.refuse("A question has no right answer", "raw_data.gt", "download the file again")
    answers = tuple(sorted({place.letter(text, options, "raw_data.gt") for text in right}))
    letters = {letter.strip() for letter in place.text(item, "gt").split(",")}
    if {options.get(letter) for letter in letters} != {options[letter] for letter in answers}:
        place.refuse(
            f"The right letters {sorted(letters)} and the right texts {right} disagree",
            "gt",
            "download the file again",
        )
    question = question_text(place.text(item, "E-mode3"), options)
    stem = place.file.stem
    return RawQuestion(
        question_id=f"{stem}/{image}",
        benchmark=NAME,
        task=task,
        subtask=stem,
        question=f"{question} {SEVERAL}" if isinstance(truth, list) else question,
        options=options,
        answers=answers,
        modality=modality_of(image),
        image=image,
        patient=patient_of(image),
        file=place.image(image, [base / image for base in bases]),
    )


def question_text(prompt: str, options: dict[str, str]) -> str:
    """The bare question of an ``E-mode3`` prompt: without its instruction and its list of options.

    All models get the options and the answer's form from one prompt of ours (`prompts.student`).
    """
    marks = list(_QUESTION.finditer(prompt))
    text = prompt[marks[-1].end() :] if marks else prompt
    letter, first = next(iter(options.items()))
    listed = re.search(rf"(?:^|[\s(\[]){letter}\s*[.):]\s*{re.escape(first)}", text, re.IGNORECASE)
    if listed:
        text = _HEADING.sub("", text[: listed.start()].rstrip(" ([\n"))
    return text.strip() or prompt.strip()


def modality_of(image: str) -> Modality | None:
    """The modality of a benchmark image, as far as the folders of its path tell it."""
    for part in image.split("/")[:-1]:
        name = re.sub(r"[^a-z]", "", part.lower())
        for modality in Modality:
            if name.startswith(modality.lower()) and name not in _MODALITIES:
                return modality
        if name.removeprefix("oia") in _MODALITIES:
            return _MODALITIES[name.removeprefix("oia")]
    return None
