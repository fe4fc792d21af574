"""What an estimate is made from, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fundus_r1.rows import Modality


@dataclass(frozen=True)
class Size:
    """A model whose weights are known, as far as its work depends on it."""

    parameters: float
    """That work on each token."""
    vision: float
    """That work on each of the four patches behind an image token."""
    least_image_tokens: int
    most_image_tokens: int


@dataclass(frozen=True)
class Quantities:
    """How much there is to do."""

    images: Mapping[Modality, float]
    """Training images."""
    sides: Mapping[Modality, float]
    """Side in pixels of a square as large as the mean image."""
    masked: float
    """Training images with masks."""
    triplets: float
    """Questions about training images; each gets a trace."""
    accepted: float
    """Traces that pass the quality check."""
    pairs: float
    """(label, modality) pairs."""
    asked: float
    """Findings in one joint question, on average."""
    asked_at_most: float
    questions: float
    """Benchmark questions."""
    student: Size | None
    """None, as with the next two, where the size of the model is not known."""
    observer: Size | None
    free_form: Size | None
    hits: frozenset[str] = frozenset()
    """Stages whose outputs are in the store."""

    @property
    def total(self) -> float:
        """Training images of all modalities."""
        return sum(self.images.values())


@dataclass(frozen=True)
class Asked:
    """What one model does in one stage."""

    role: str
    """``observer``, ``writer``, ``free_form``, ``judge`` or ``student``."""
    requests: float
    """0 for SFT, which asks nobody."""
    prompt_tokens: float
    """Image tokens included. Rollouts of one prompt share it."""
    completion_tokens: float
    """For SFT, tokens that are learnt."""
    gpu_hours: float | None
    """None where the model's size is not known, as with a closed API."""
    usd: float | None
    """None where its endpoint states no price."""


@dataclass(frozen=True)
class StageCost:
    """What one stage takes."""

    stage: str
    hit: bool
    """Whether its output is in the store, so that it takes nothing."""
    asked: tuple[Asked, ...]
    """Models with something to do."""
    store_bytes: float
    """What it leaves in the store."""
