"""How big a model is, from what a spec says of it: its name, its folder, or its shape."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

from fundus_r1.models.tiny import IMAGE_SIDE, VOCABULARY
from fundus_r1.models.weights import model_id
from fundus_r1.spec.cost import CostAssumptions
from fundus_r1.spec.models import FolderModel, TinyModel, VisionRef
from fundus_r1.spec.training import Pixels
from fundus_r1.stages.cost.rows import Size
from fundus_r1.stages.cost.texts import FACTOR

_BILLIONS = re.compile(r"(?<![\d.])(a?)(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)
BF16 = 2
"""Bytes of a parameter in a model folder."""


def parameters_in(name: str) -> float | None:
    """Parameters that a model's name states, ``32B``; of a mixture (``30B-A3B``) those that are active."""
    found = [(bool(active), float(billions) * 1e9) for active, billions in _BILLIONS.findall(name)]
    return max(found)[1] if found else None


def size_of(ref: VisionRef, assumed: CostAssumptions) -> Size | None:
    """A model's size, or None where nothing tells it.

    Args:
        ref: which model.
        assumed: the vision tower and the image limits of published models.
    """
    if isinstance(ref, TinyModel):
        # Attention has 4 and the gated layer 9 squares of the width; the tower is left out.
        language = ref.layers * 13 * ref.hidden**2 + VOCABULARY * ref.hidden
        side = IMAGE_SIDE // FACTOR
        return Size(float(language), 0.0, (side // 2) ** 2, side**2)
    if isinstance(ref, FolderModel):
        total: float | None = sum(file.stat().st_size for file in Path(ref.path).glob("*.safetensors")) / BF16
    else:
        total = parameters_in(model_id(ref).partition("@")[0])
    if not total:
        return None
    # A name such as 32B counts the language model; a folder below that size has no tower worth counting.
    tower = assumed.vision_parameters if total > 2 * assumed.vision_parameters else 0.0
    return Size(total, tower, assumed.least_image_tokens, assumed.most_image_tokens)


def student_size(ref: VisionRef, pixels: Pixels, assumed: CostAssumptions) -> Size | None:
    """The student's size; what it is shown is kept within the run's own limits of pixels."""
    size = size_of(ref, assumed)
    if size is None:
        return None
    least, most = (math.ceil(pixels.min_pixels / FACTOR**2), pixels.max_pixels // FACTOR**2)
    return replace(size, least_image_tokens=least, most_image_tokens=most)
