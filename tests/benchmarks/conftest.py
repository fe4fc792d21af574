"""Small benchmarks in their official layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Write = Callable[..., Path]


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 48), (90, 40, 20)).save(path)


@pytest.fixture
def omni_item() -> Callable[..., dict[str, Any]]:
    """An item of OmniMedVQA with changes; a field given as ... is left out."""
    return _omni_item


def _omni_item(**changes: Any) -> dict[str, Any]:
    item = {
        "dataset": "JSIEC",
        "question_id": "JSIEC_0001",
        "question_type": "Disease Diagnosis",
        "question": "What disease is shown?",
        "gt_answer": "Drusen",
        "image_path": "Images/JSIEC/1.png",
        "option_A": "Normal",
        "option_B": "Drusen",
        "option_C": "Glaucoma",
        "option_D": "CNV",
        "modality_type": "Fundus Photography",
    }
    item.update(changes)
    return {key: value for key, value in item.items() if value is not ...}


@pytest.fixture
def omni(tmp_path: Path) -> Write:
    def write(*items: dict[str, Any], access: str = "Open-access", name: str = "JSIEC") -> Path:
        root = tmp_path / "data" / "OmniMedVQA"
        draw(root / "Images/JSIEC/1.png")
        file = root / "QA_information" / access / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(list(items)))
        return tmp_path / "data"

    return write


@pytest.fixture
def fun_item() -> Callable[..., dict[str, Any]]:
    """A question of FunBench with changes."""
    return _fun_item


def _fun_item(**changes: Any) -> dict[str, Any]:
    item: dict[str, Any] = {
        "gt": "B",
        "E-mode2": None,
        "E-mode3": "Please choose the most suitable option.\nThe question is: Is there a drusen?\n"
        "Options: A. Yes\nB. No",
        "raw_data": {"gt": "No", "options": ["Yes", "No"]},
    }
    item.update(changes)
    return item


@pytest.fixture
def fun(tmp_path: Path) -> Write:
    def write(
        data: Any,
        file: str = "L4-disease_diagnosis/L4a-binary_condition_diagnosis.json",
        images: str = "datasets_preprocessed",
    ) -> Path:
        tree = tmp_path / "data" / "FunBench"
        for name in data if isinstance(data, dict) else ():
            draw(tree / images / name)
        path = tree / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"data": data}))
        return tmp_path / "data"

    return write
