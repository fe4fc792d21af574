"""The brushes of the synthetic eyes: coordinates, cloudy noise, soft spots, blending.

Coordinates run from -1 to 1 over the image, x to the right, y down, so that a drawing is the same
at every size. Fields are float32 arrays of shape (size, size).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.floating[Any]]
"""(size, size), usually 0..1."""
Picture = NDArray[np.float32]
"""(size, size, 3)."""
Colour = tuple[float, float, float]
"""Red, green, blue, 0..1."""


@dataclass
class Drawing:
    """A finished picture and what is in it."""

    image: Image.Image
    findings: tuple[str, ...] = ()
    """Canonical findings that were drawn."""
    masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Finding -> exactly the pixels on which it was drawn."""


def generator(*key: object) -> np.random.Generator:
    """Random numbers that depend on the key alone."""
    digest = hashlib.sha256("/".join(str(part) for part in key).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def grid(size: int) -> tuple[Field, Field]:
    """x and y of every pixel's centre."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def clouds(rng: np.random.Generator, size: int, cells: int, squeeze: float = 1.0) -> Field:
    """Smooth noise, about -1..1, with so many cells across; `squeeze` > 1 draws it out sideways."""
    rough = rng.uniform(-1, 1, (cells + 1, max(2, round(cells / squeeze) + 1))).astype(np.float32)
    smooth = Image.fromarray(rough).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32)


def step(values: Field, width: float) -> Field:
    """0 below -width/2, 1 above width/2, a smooth ramp between."""
    t = np.clip(values / np.float32(width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Field, y: Field, at: tuple[float, float], radius: float) -> Field:
    """A soft hill of height 1, at `radius` fallen to 0.37."""
    squared = (x - np.float32(at[0])) ** 2 + (y - np.float32(at[1])) ** 2
    return np.exp(-squared / np.float32(radius * radius)).astype(np.float32)


def blend(picture: Picture, alpha: Field, colour: Colour) -> None:
    """Lays a colour over a (size, size, 3) picture, in place."""
    picture += alpha[..., None] * (np.asarray(colour, dtype=np.float32) - picture)


def stamp(
    target: Field,
    rng: np.random.Generator,
    at: tuple[float, float],
    radii: tuple[float, float],
    *,
    angle: float = 0.0,
    rough: float = 0.2,
    soft: float = 0.5,
    strength: float = 1.0,
) -> None:
    """Puts a spot of irregular outline on a field, in place; where spots meet the stronger counts.

    Args:
        target: the field.
        rng: of the outline.
        at: centre.
        radii: along and across the direction.
        angle: of the direction, in radians.
        rough: by how much of its radius the outline wavers.
        soft: width of the edge, in radii.
        strength: value inside.
    """
    size = target.shape[0]
    pixel = 2.0 / size
    # Thinner than a pixel a spot would vanish between two of them.
    along, across = max(radii[0], 0.9 * pixel), max(radii[1], 0.9 * pixel)
    reach = max(along, across) * (1 + rough + soft) + pixel
    left, right = _window(at[0], reach, size)
    top, bottom = _window(at[1], reach, size)
    phases = rng.uniform(0, 2 * np.pi, 3)
    if left >= right or top >= bottom:
        return
    line = (np.arange(size, dtype=np.float32) + 0.5) * pixel - 1
    dx = line[None, left:right] - at[0]
    dy = line[top:bottom, None] - at[1]
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / along
    v = (-dx * np.sin(angle) + dy * np.cos(angle)) / across
    theta = np.arctan2(v, u)
    wave = sum(np.sin((k + 2) * theta + phase) / (k + 1) for k, phase in enumerate(phases))
    distance = np.hypot(u, v) / (1 + rough * wave / 1.8)
    edge = max(soft, pixel / min(along, across))
    alpha = step((1 - distance).astype(np.float32), edge) * strength
    patch = target[top:bottom, left:right]
    np.maximum(patch, alpha.astype(np.float32), out=patch)


def _window(centre: float, reach: float, size: int) -> tuple[int, int]:
    low = int(np.floor((centre - reach + 1) / 2 * size))
    high = int(np.ceil((centre + reach + 1) / 2 * size))
    return max(0, low), min(size, high)


def to_image(picture: Field, *, left_eye: bool = False) -> Image.Image:
    """A finished 8-bit image; right eyes are drawn, and left eyes are their mirror."""
    values = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values[:, ::-1]) if left_eye else values)
