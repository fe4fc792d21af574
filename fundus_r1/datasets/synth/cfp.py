"""Synthetic colour fundus photos of diabetic retinopathy, graded by the international scale.

Mild is microaneurysms only; moderate adds haemorrhages, some hard exudates and cotton-wool spots;
severe has many haemorrhages in all four quadrants and beaded veins; proliferative has new vessels,
perhaps with a haemorrhage before the retina. Drawings for trying the system, not medical data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fundus_r1.datasets.synth.paint import (
    Colour,
    Drawing,
    Field,
    Picture,
    blend,
    bump,
    clouds,
    grid,
    stamp,
    step,
    to_image,
)
from fundus_r1.datasets.synth.vessels import Canvas, Style, draw_tree, tangle

DISC = (0.46, -0.01)
"""Centre of the disc in a right eye."""
MACULA = (-0.10, 0.04)
DISC_RADIUS = 0.125
FIELD_RADIUS = 0.955
MASKED = ("microaneurysm", "retinal_hemorrhage", "hard_exudate", "cotton_wool_spot")
"""Findings of which IDRiD publishes masks."""

_COLOURS: dict[str, Colour] = {
    "microaneurysm": (0.42, 0.05, 0.03),
    "retinal_hemorrhage": (0.36, 0.03, 0.02),
    "hard_exudate": (0.99, 0.86, 0.42),
    "cotton_wool_spot": (0.97, 0.87, 0.70),
}
_OPAQUE = {"microaneurysm": 0.85, "retinal_hemorrhage": 0.88, "hard_exudate": 0.92, "cotton_wool_spot": 0.72}


def draw(
    rng: np.random.Generator, size: int, grade: int, *, left_eye: bool = False, pigment: float = 0.5
) -> Drawing:
    """One photo.

    Args:
        rng: of everything in it.
        size: side in pixels.
        grade: 0 to 4.
        left_eye: the disc is on the left.
        pigment: 0 fair to 1 dark, the same in both eyes of a patient.
    """
    findings = _findings(rng, grade)
    x, y = grid(size)
    picture = _background(rng, x, y, pigment)
    _disc(picture, rng, x, y)
    _vessels(picture, rng, size, beaded="venous_beading" in findings)
    masks: dict[str, NDArray[np.bool_]] = {}
    for finding in ("cotton_wool_spot", "hard_exudate", "retinal_hemorrhage", "microaneurysm"):
        if finding in findings:
            alpha = _lesions(finding, rng, size, grade)
            blend(picture, alpha * _OPAQUE[finding], _COLOURS[finding])
            mask = alpha > 0.5
            masks[finding] = mask[:, ::-1] if left_eye else mask
    if "neovascularization" in findings:
        _new_vessels(picture, rng, size)
    if "preretinal_hemorrhage" in findings:
        _preretinal(picture, rng, x, y)
    _camera(picture, rng, x, y)
    return Drawing(to_image(picture, left_eye=left_eye), findings, masks)


def _findings(rng: np.random.Generator, grade: int) -> tuple[str, ...]:
    """The findings that the grade demands, and by chance some that it allows."""
    exudates, wool, preretinal = rng.random(3)
    found = [*(["microaneurysm"] if grade >= 1 else []), *(["retinal_hemorrhage"] if grade >= 2 else [])]
    if grade >= 2 and exudates < 0.7:
        found.append("hard_exudate")
    if grade >= 2 and wool < 0.5:
        found.append("cotton_wool_spot")
    if grade == 3:
        found.append("venous_beading")
    if grade == 4:
        found.append("neovascularization")
        if preretinal < 0.5:
            found.append("preretinal_hemorrhage")
    return tuple(found)


def _background(rng: np.random.Generator, x: Field, y: Field, pigment: float) -> Picture:
    size = x.shape[0]
    r2 = x * x + y * y
    light = 1.0 - 0.30 * r2 + rng.uniform(-0.06, 0.06) * x + rng.uniform(-0.06, 0.06) * y
    cloud = 0.045 * clouds(rng, size, 5) + 0.028 * clouds(rng, size, 16) + 0.022 * clouds(rng, size, 48)
    light = light + cloud
    darker = 1.0 - 0.28 * pigment
    picture = np.stack([0.86 * darker * light, 0.435 * darker * light - 0.03, 0.17 * light - 0.02], axis=-1)
    # Choroidal vessels shine through a fair fundus as broad, pale streaks.
    streaks = np.abs(clouds(rng, size, 11, squeeze=2.2)) * (1 - pigment) * 0.10
    picture[..., 1] += streaks * (0.4 + 0.6 * r2)
    picture[..., 2] += streaks * 0.4
    macula = bump(x, y, MACULA, 0.24)
    picture *= (1 - 0.26 * macula)[..., None]
    picture[..., 1] -= 0.045 * macula
    fovea = bump(x, y, MACULA, 0.075)
    picture *= (1 - 0.22 * fovea)[..., None]
    reflex = bump(x, y, (MACULA[0] + 0.008, MACULA[1] - 0.006), 0.014)
    blend(picture, 0.35 * reflex, (1.0, 0.85, 0.6))
    return picture.astype(np.float32)


def _disc(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    cx, cy = DISC
    radius = DISC_RADIUS * rng.uniform(0.92, 1.08)
    d = np.hypot((x - cx) / 0.93, y - cy)
    blend(picture, 0.30 * bump(x, y, DISC, radius * 1.9), (0.98, 0.62, 0.30))
    blend(picture, step(radius - d, 0.035), (0.97, 0.74, 0.43))
    # The temporal rim is the paler one.
    blend(picture, 0.35 * step(radius - d, 0.05) * step(cx - 0.02 - x, 0.2), (1.0, 0.87, 0.60))
    cup = radius * rng.uniform(0.32, 0.48)
    dc = np.hypot((x - cx + 0.012) / 0.95, y - cy)
    blend(picture, 0.85 * step(cup - dc, 0.05), (1.0, 0.94, 0.78))


def _vessels(picture: Picture, rng: np.random.Generator, size: int, *, beaded: bool) -> None:
    veins, arteries = Canvas(size), Canvas(size)
    draw_tree(veins, rng, DISC, Style(width=0.026, beaded=0.5 if beaded else 0.0, tortuous=0.13))
    draw_tree(arteries, rng, (DISC[0] - 0.01, DISC[1]), Style(width=0.018, tortuous=0.10))
    blend(picture, 0.78 * veins.field(), (0.42, 0.07, 0.05))
    field = arteries.field()
    blend(picture, 0.70 * field, (0.60, 0.14, 0.08))
    # The light reflex along the middle of an artery.
    blend(picture, 0.22 * np.clip(field - 0.82, 0, 1) / 0.18, (0.95, 0.55, 0.38))


def _places(
    rng: np.random.Generator, count: int, *, inner: float, outer: float, quadrants: bool = False
) -> list[tuple[float, float]]:
    """Places around the macula, off the disc and the fovea."""
    places: list[tuple[float, float]] = []
    while len(places) < count:
        angle = rng.uniform(0, 2 * np.pi)
        if quadrants:
            angle = angle / 4 + len(places) % 4 * np.pi / 2
        radius = rng.uniform(inner**2, outer**2) ** 0.5
        x, y = MACULA[0] * 0.4 + radius * np.cos(angle), MACULA[1] + radius * np.sin(angle)
        off_disc = np.hypot(x - DISC[0], y - DISC[1]) > 1.5 * DISC_RADIUS
        off_fovea = np.hypot(x - MACULA[0], y - MACULA[1]) > 0.09
        if off_disc and off_fovea and np.hypot(x, y) < 0.86:
            places.append((float(x), float(y)))
    return places


def _lesions(finding: str, rng: np.random.Generator, size: int, grade: int) -> Field:
    """Where a finding is drawn, 0..1."""
    alpha = np.zeros((size, size), dtype=np.float32)
    if finding == "microaneurysm":
        count = int(rng.integers(5, 10) if grade == 1 else rng.integers(9, 20))
        for at in _places(rng, count, inner=0.12, outer=0.62):
            radius = rng.uniform(0.009, 0.014)
            stamp(alpha, rng, at, (radius, radius), rough=0.05, soft=0.6)
    elif finding == "retinal_hemorrhage":
        low, high = {2: (5, 11), 3: (24, 38)}.get(grade, (8, 16))
        count = int(rng.integers(low, high))
        for at in _places(rng, count, inner=0.18, outer=0.80, quadrants=grade == 3):
            if rng.random() < 0.35:
                # Flame-shaped: in the nerve fibre layer, along the fibres that come from the disc.
                angle = np.arctan2(at[1] - DISC[1], at[0] - DISC[0]) + rng.normal(0, 0.25)
                length = rng.uniform(0.03, 0.055)
                stamp(alpha, rng, at, (length, length * 0.32), angle=angle, rough=0.35, soft=0.5)
            else:
                radius = rng.uniform(0.015, 0.034)
                stamp(alpha, rng, at, (radius, radius * rng.uniform(0.7, 1)), rough=0.3, soft=0.45)
    elif finding == "hard_exudate":
        for centre in _places(rng, int(rng.integers(2, 5)), inner=0.14, outer=0.42):
            ring = rng.uniform(0.03, 0.09)
            for angle in rng.uniform(0, 2 * np.pi, int(rng.integers(6, 15))):
                at = (centre[0] + ring * np.cos(angle), centre[1] + ring * np.sin(angle))
                radius = rng.uniform(0.006, 0.016)
                stamp(alpha, rng, at, (radius, radius * 0.8), angle=angle, rough=0.3, soft=0.35)
    else:
        for at in _places(rng, int(rng.integers(2, 6)), inner=0.25, outer=0.66):
            radius = rng.uniform(0.032, 0.055)
            angle = rng.uniform(0, np.pi)
            stamp(alpha, rng, at, (radius, radius * 0.65), angle=angle, rough=0.3, soft=0.95)
    return alpha


def _new_vessels(picture: Picture, rng: np.random.Generator, size: int) -> None:
    canvas = Canvas(size)
    tangle(canvas, rng, (DISC[0] - 0.03, DISC[1] - 0.04), 0.20, 16)
    for at in _places(rng, 2, inner=0.40, outer=0.66):
        tangle(canvas, rng, at, 0.13, 12)
    blend(picture, 0.62 * canvas.field(), (0.55, 0.06, 0.05))


def _preretinal(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    """Boat-shaped: blood before the retina settles with a level top."""
    cx, cy = rng.uniform(-0.30, 0.10), rng.uniform(0.30, 0.42)
    width, height = rng.uniform(0.15, 0.22), rng.uniform(0.09, 0.13)
    inside = 1 - np.hypot((x - cx) / width, (y - cy) / height)
    alpha = step(inside, 0.25) * step(y - cy, 0.05)
    blend(picture, 0.93 * alpha, (0.34, 0.02, 0.02))


def _camera(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    """Sensor noise, and the round mask of the camera, cut off above and below."""
    size = x.shape[0]
    picture += rng.normal(0, 0.011, picture.shape).astype(np.float32)
    radius = np.hypot(x, y)
    inside = step(FIELD_RADIUS - radius, 3.0 / size) * step(0.90 - np.abs(y), 2.0 / size)
    picture *= (1 - 0.35 * np.clip(radius - 0.78, 0, 1) / 0.2)[..., None]
    picture *= inside[..., None]
    picture += 0.012
