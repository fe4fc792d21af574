"""Retinal vessels: four arcades that leave the disc, arch around the macula and branch.

An arcade is a Bezier curve; branches leave it at acute angles, wander and branch again. They are
drawn as lines on a larger canvas that is then reduced, which makes them smooth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fundus_r1.datasets.synth.paint import Field

Points = NDArray[np.float64]
"""(n, 2) points."""


@dataclass(frozen=True)
class Style:
    """How the vessels of one kind run."""

    scale: float = 1.0
    """Size of the arcades; 1 spans a 45-degree photo."""
    width: float = 0.020
    """Of a trunk at the disc."""
    tortuous: float = 0.12
    """How much branches wander, radians a step."""
    beaded: float = 0.0
    """Share by which the width swells and shrinks (venous beading)."""
    depth: int = 2
    """Generations of branches."""


_ARCADES = (
    ((0.04, -0.30), (-0.42, -0.70), (-1.22, -0.34)),
    ((0.04, 0.30), (-0.42, 0.70), (-1.22, 0.36)),
    ((0.10, -0.16), (0.22, -0.40), (0.42, -0.66)),
    ((0.10, 0.16), (0.22, 0.40), (0.42, 0.66)),
)
"""Control points from the disc's centre, for a right eye: temporal above, below, nasal above, below."""

_NEEDS_JOINT = 4
"""Lines with more pixels show a gap where they bend."""


class Canvas:
    """Lines in -1..1 coordinates on an enlarged grey canvas."""

    def __init__(self, size: int):
        self.size = size
        self.factor = max(1, min(4, 1600 // size))
        self._image = Image.new("L", (size * self.factor,) * 2)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Points, widths: NDArray[np.float64]) -> None:
        """A line whose width (in units of the coordinates) changes on the way."""
        side = self.size * self.factor
        places = [(x, y) for x, y in ((points + 1) / 2 * side).tolist()]
        thick = [max(1, round(w)) for w in np.maximum(widths / 2 * side, 0.8 * self.factor).tolist()]
        start = 0
        for at in range(1, len(places)):
            # Stretches of one width are drawn at once, which is much faster.
            if at == len(places) - 1 or thick[at + 1] != thick[at]:
                self._draw.line(places[start : at + 1], fill=255, width=thick[at])
                start = at
        for (x, y), w in zip(places, thick, strict=True):
            if w > _NEEDS_JOINT:
                r = (w - 1) / 2
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=255)

    def field(self) -> Field:
        """Coverage of each pixel, 0..1."""
        reduced = self._image.reduce(self.factor) if self.factor > 1 else self._image
        return np.asarray(reduced, dtype=np.float32) / np.float32(255)


def draw_tree(canvas: Canvas, rng: np.random.Generator, disc: tuple[float, float], style: Style) -> None:
    """All four arcades of arteries or veins."""
    for index, controls in enumerate(_ARCADES):
        temporal = index < 2
        jitter = rng.normal(0, 0.03, (3, 2)) * style.scale
        ends = np.asarray(controls) * style.scale + jitter
        trunk = np.asarray(disc) + _bezier(np.vstack([np.zeros((1, 2)), ends]), 26)
        trunk += _wander(rng, len(trunk), 0.05 * style.tortuous * style.scale)
        share = 1.0 if temporal else 0.75
        widths = _widths(rng, style, len(trunk), share)
        canvas.line(trunk, widths)
        for k, at in enumerate(range(5, len(trunk) - 2, 3)):
            side = 1 if (k + index) % 2 else -1
            heading = _heading(trunk, at) + side * rng.uniform(0.5, 0.95)
            length = style.scale * rng.uniform(0.22, 0.5) * (1.1 if temporal else 0.8)
            _branch(canvas, rng, trunk[at], heading, length, widths[at] * rng.uniform(0.45, 0.7), style, 1)


def _branch(
    canvas: Canvas,
    rng: np.random.Generator,
    start: NDArray[np.float64],
    heading: float,
    length: float,
    width: float,
    style: Style,
    generation: int,
) -> None:
    steps = 7
    bend = rng.normal(0, 0.06) * np.arange(steps)
    headings = heading + np.cumsum(rng.normal(0, style.tortuous, steps)) + bend
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * (length / steps)
    points = np.vstack([start[None], start + np.cumsum(moves, axis=0)])
    widths = np.linspace(width, width * 0.45, len(points))
    if style.beaded:
        widths = widths * (1 + style.beaded * np.sin(np.arange(len(points)) * 2.2))
    canvas.line(points, widths)
    if generation < style.depth:
        for at in (3, 5):
            side = 1 if rng.random() < 0.5 else -1
            turn = headings[at - 1] + side * rng.uniform(0.45, 0.8)
            _branch(canvas, rng, points[at], turn, length * 0.55, widths[at] * 0.7, style, generation + 1)


def tangle(
    canvas: Canvas, rng: np.random.Generator, at: tuple[float, float], radius: float, strands: int
) -> None:
    """New vessels: fine, curled, looping lines that fan out from a point."""
    for start in rng.uniform(0, 2 * np.pi, strands):
        curl = rng.normal(0, 0.45)
        headings = start + np.cumsum(np.full(12, curl) + rng.normal(0, 0.35, 12))
        moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * radius / 6
        points = np.asarray(at) + np.vstack([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
        canvas.line(points, np.full(len(points), 0.007))


def _bezier(controls: Points, count: int) -> Points:
    t = np.linspace(0, 1, count)[:, None]
    a, b, c, d = controls
    return a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3


def _wander(rng: np.random.Generator, count: int, amount: float) -> Points:
    drift = np.cumsum(rng.normal(0, amount, (count, 2)), axis=0)
    return drift * np.linspace(0, 1, count)[:, None]


def _widths(rng: np.random.Generator, style: Style, count: int, share: float) -> NDArray[np.float64]:
    widths = np.linspace(style.width, style.width * 0.28, count) * share * style.scale**0.5
    if style.beaded:
        widths = widths * (1 + style.beaded * np.sin(np.arange(count) * 1.9 + rng.uniform(0, 6)))
    return widths


def _heading(points: Points, at: int) -> float:
    dx, dy = points[at] - points[at - 1]
    return float(np.arctan2(dy, dx))
