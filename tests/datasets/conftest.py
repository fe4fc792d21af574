"""Small collections in the official layouts, made of noise, for tests of their readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IMAGES_B = "B. Disease Grading/1. Original Images/a. Training Set"
TESTING_B = "B. Disease Grading/1. Original Images/b. Testing Set"
TABLE_B = "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
IMAGES_A = "A. Segmentation/1. Original Images/a. Training Set"
MASKS_A = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"
LESIONS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
}
TOP_HEADER = "filename,ID,age,sex,LR,AMD,RVO,Gla,MH,DR,RD,RP,AO,DM"


def noise(seed: int, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    """A picture that no other seed gives."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def mask(path: Path, size: tuple[int, int] = (48, 40), marked: bool = True) -> Path:
    """A lesion mask with a few pixels set, or none."""
    image = Image.new("L", size)
    if marked:
        image.paste(255, (5, 5, 9, 8))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture(name="mask")
def mask_writer() -> Callable[..., Path]:
    """Writes a lesion mask; see `mask`."""
    return mask


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture below the test's folder."""

    def write(name: str, seed: int = 0, *, image: Image.Image | None = None, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (image or noise(seed)).save(path, **options)
        return path

    return write


@pytest.fixture
def kermany(tmp_path: Path, picture: Callable[..., Path]) -> Callable[..., Path]:
    """A folder ``OCT2017`` with the named files of its training part."""

    def make(*names: str, root: str = "OCT2017", part: str = "train") -> Path:
        for seed, name in enumerate(names):
            picture(f"{root}/{part}/{name}", seed)
        return tmp_path / root

    return make


@pytest.fixture
def idrid(tmp_path: Path, picture: Callable[..., Path]) -> Callable[..., Path]:
    """A folder ``IDRiD`` with grades, and masks for some photos.

    `grades`: number -> (grade, risk). `masks`: segmentation number -> (seed of the picture, endings of
    lesions that are there). The graded photo with number n shows the picture with seed n.
    """

    def make(
        grades: dict[int, tuple[str, str]], masks: dict[int, tuple[int, Sequence[str]]] | None = None
    ) -> Path:
        root = tmp_path / "IDRiD"
        for number in grades:
            picture(f"IDRiD/{IMAGES_B}/IDRiD_{number:03d}.png", number)
        table(
            root / TABLE_B,
            "Image name,Retinopathy grade,Risk of macular edema ,,,",
            [f"IDRiD_{number:03d},{grade},{risk},,," for number, (grade, risk) in grades.items()],
        )
        if masks is not None:
            for folder in LESIONS.values():
                (root / MASKS_A / folder).mkdir(parents=True)
            for number, (seed, endings) in masks.items():
                picture(f"IDRiD/{IMAGES_A}/IDRiD_{number:02d}.png", seed)
                for ending in endings:
                    mask(root / MASKS_A / LESIONS[ending] / f"IDRiD_{number:02d}_{ending}.tif")
        return root

    return make


@pytest.fixture
def top(tmp_path: Path, picture: Callable[..., Path]) -> Callable[..., Path]:
    """A folder ``TOP`` with the given lines in its table, and a file for each name."""

    def make(lines: Sequence[str], files: Sequence[str]) -> Path:
        for seed, name in enumerate(files):
            picture(f"TOP/img/{name}", seed)
        table(tmp_path / "TOP" / "data.csv", TOP_HEADER, lines)
        return tmp_path / "TOP"

    return make


def table(path: Path, header: str, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path
