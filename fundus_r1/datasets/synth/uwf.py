"""Synthetic ultra-widefield photos with the eight eye diseases of TOP.

The look is that of a scanning-laser camera: a wide, green-tinted field with a small disc, vessels out
to the far periphery, and lids and lashes at the edge. Drawings for trying the system, not medical data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from fundus_r1.datasets.synth.paint import (
    Drawing,
    Field,
    Picture,
    blend,
    bump,
    clouds,
    grid,
    step,
    to_image,
)
from fundus_r1.datasets.synth.uwf_diseases import (
    DISC,
    DISC_RADIUS,
    DISEASES,
    FIELD,
    MACULA,
    whitening,
)
from fundus_r1.datasets.synth.vessels import Canvas, Style, draw_tree


def draw(
    rng: np.random.Generator,
    size: int,
    labels: Sequence[str],
    *,
    left_eye: bool = False,
    pigment: float = 0.5,
) -> Drawing:
    """One photo.

    Args:
        rng: of everything in it.
        size: side in pixels.
        labels: diseases of `uwf_diseases.DISEASES`, drawn together; none is a normal eye.
        left_eye: the disc is on the left.
        pigment: 0 fair to 1 dark, the same in both eyes of a patient.
    """
    x, y = grid(size)
    picture = _background(rng, x, y, pigment)
    starved = "retinitis_pigmentosa" in labels or "artery_occlusion" in labels
    if "artery_occlusion" in labels:
        whitening(picture, rng, x, y)
    _disc(picture, rng, x, y, cup=0.80 if "glaucoma" in labels else 0.38, pale=starved)
    _vessels(picture, rng, size, x, y, thin=0.5 if starved else 1.0, engorged="rvo" in labels)
    findings: list[str] = []
    for label in labels:
        painter, shown = DISEASES[label]
        painter(picture, rng, x, y)
        findings += [finding for finding in shown if finding not in findings]
    _camera(picture, rng, x, y)
    return Drawing(to_image(picture, left_eye=left_eye), tuple(findings))


def _background(rng: np.random.Generator, x: Field, y: Field, pigment: float) -> Picture:
    size = x.shape[0]
    r2 = x * x + y * y
    cloud = 0.06 * clouds(rng, size, 4) + 0.045 * clouds(rng, size, 13) + 0.03 * clouds(rng, size, 40)
    light = (1.02 - 0.34 * r2 + cloud) * (1 - 0.18 * pigment)
    # Green reaches the periphery better than red, which gives the field its tint.
    picture = np.stack([0.62 * light - 0.13 * r2, 0.50 * light - 0.01 * r2, 0.16 * light], axis=-1)
    streaks = np.abs(clouds(rng, size, 15, squeeze=1.5)) * (0.13 - 0.08 * pigment)
    picture[..., 0] += streaks * r2
    picture[..., 1] += 0.5 * streaks * r2
    picture *= (1 - 0.30 * bump(x, y, MACULA, 0.12))[..., None]
    picture *= (1 - 0.20 * bump(x, y, MACULA, 0.04))[..., None]
    return picture.astype(np.float32)


def _disc(picture: Picture, rng: np.random.Generator, x: Field, y: Field, *, cup: float, pale: bool) -> None:
    cx, cy = DISC
    radius = DISC_RADIUS * rng.uniform(0.94, 1.06)
    distance = np.hypot((x - cx) / 0.9, y - cy)
    rim = (0.86, 0.84, 0.62) if pale else (0.93, 0.72, 0.34)
    blend(picture, step(radius - distance, 0.03), rim)
    inner = np.hypot((x - cx + 0.004) / 0.95, y - cy)
    blend(picture, 0.9 * step(radius * cup - inner, 0.025), (1.0, 0.97, 0.78))


def _vessels(
    picture: Picture, rng: np.random.Generator, size: int, x: Field, y: Field, *, thin: float, engorged: bool
) -> None:
    veins, arteries = Canvas(size), Canvas(size)
    bent = 0.30 if engorged else 0.14
    # The arcades of a 45-degree photo, and a second set that carries on to the periphery.
    for scale, width, depth in ((0.55, 0.021, 2), (1.02, 0.016, 1)):
        wide = width * thin * (1.35 if engorged else 1)
        draw_tree(veins, rng, DISC, Style(scale=scale, width=wide, tortuous=bent, depth=depth))
        narrow = width * 0.68 * thin
        draw_tree(arteries, rng, DISC, Style(scale=scale, width=narrow, tortuous=0.12, depth=1))
    blend(picture, 0.80 * veins.field(), (0.30, 0.09, 0.04))
    blend(picture, 0.60 * arteries.field(), (0.52, 0.20, 0.08))


def _camera(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    """Noise, the edge of the field, lids, and lashes that reach into it from below."""
    size = x.shape[0]
    picture += rng.normal(0, 0.012, picture.shape).astype(np.float32)
    edge = np.hypot(x / FIELD[0], y / FIELD[1]) + 0.02 * clouds(rng, size, 9)
    picture *= (1 - 0.45 * np.clip(edge - 0.72, 0, 0.28) / 0.28)[..., None]
    outside = step(edge - 1.0, 0.05)
    lid = 0.055 + 0.05 * np.clip(np.abs(y) - 0.6, 0, 1) + 0.012 * clouds(rng, size, 24)
    blend_to = np.stack([lid * 1.25, lid * 0.95, lid * 0.6], axis=-1)
    picture += outside[..., None] * (blend_to - picture)
    lashes = Image.new("L", (size, size))
    pen = ImageDraw.Draw(lashes)
    for start in rng.uniform(-0.6, 0.6, int(rng.integers(5, 10))):
        bend, height = rng.uniform(-0.12, 0.12), rng.uniform(0.14, 0.30)
        hair = [(start + bend * t * t, 0.98 - height * t) for t in (0.0, 0.33, 0.66, 1.0)]
        places = [((px + 1) / 2 * size, (py + 1) / 2 * size) for px, py in hair]
        pen.line(places, fill=210, width=max(1, size // 180))
    blend(picture, np.asarray(lashes, dtype=np.float32) / np.float32(255), (0.05, 0.045, 0.03))
