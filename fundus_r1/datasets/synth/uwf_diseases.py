"""The eight eye diseases of TOP on an ultra-widefield drawing, each where it is seen.

Bone spicules lie in the mid-periphery, a detachment comes in from the edge, an occluded vein bleeds
in its own sector.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fundus_r1.datasets.synth.paint import Field, Picture, blend, bump, clouds, stamp, step
from fundus_r1.datasets.synth.vessels import Canvas, tangle

DISC = (0.17, -0.02)
"""Centre of the disc in a right eye."""
MACULA = (-0.08, 0.01)
DISC_RADIUS = 0.072
FIELD = (1.0, 0.84)
"""Half axes of the field."""


def _around(rng: np.random.Generator, centre: tuple[float, float], spread: float) -> tuple[float, float]:
    dx, dy = rng.normal(0, spread, 2)
    return float(centre[0] + dx), float(centre[1] + dy)


def _macular_degeneration(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    atrophy, drusen, pigment = (np.zeros_like(x) for _ in range(3))
    stamp(atrophy, rng, _around(rng, MACULA, 0.015), (0.075, 0.06), rough=0.4, soft=0.25)
    for _ in range(int(rng.integers(22, 38))):
        radius = rng.uniform(0.008, 0.018)
        stamp(drusen, rng, _around(rng, MACULA, 0.07), (radius, radius), rough=0.15, soft=0.6)
    for _ in range(4):
        stamp(pigment, rng, _around(rng, MACULA, 0.05), (0.012, 0.009), rough=0.4, soft=0.6)
    blend(picture, 0.55 * atrophy, (0.86, 0.72, 0.42))
    blend(picture, 0.85 * drusen, (0.96, 0.86, 0.45))
    blend(picture, 0.75 * pigment, (0.13, 0.08, 0.04))


def _vein_occlusion(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    blood, wool = np.zeros_like(x), np.zeros_like(x)
    middle = rng.choice((-1, 1)) * rng.uniform(0.55, 0.85) + np.pi
    for _ in range(int(rng.integers(70, 110))):
        angle, radius = middle + rng.normal(0, 0.34), rng.uniform(0.10, 0.62)
        at = (DISC[0] + radius * np.cos(angle), DISC[1] + radius * np.sin(angle))
        length = rng.uniform(0.016, 0.038)
        heading = angle + rng.normal(0, 0.2)
        stamp(blood, rng, at, (length, length * 0.34), angle=heading, rough=0.35, soft=0.6)
    for _ in range(4):
        angle, radius = middle + rng.normal(0, 0.25), rng.uniform(0.14, 0.35)
        at = (DISC[0] + radius * np.cos(angle), DISC[1] + radius * np.sin(angle))
        stamp(wool, rng, at, (0.028, 0.018), rough=0.3, soft=0.9)
    blend(picture, 0.85 * blood, (0.33, 0.05, 0.03))
    blend(picture, 0.75 * wool, (0.90, 0.86, 0.66))


def _glaucoma(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    """The wide cup is drawn with the disc; here the nerve fibres that are lost, a dark wedge."""
    side = rng.choice((-1.0, 1.0))
    angle = np.arctan2(y - DISC[1], -(x - DISC[0]))
    distance = np.hypot(x - DISC[0], y - DISC[1])
    wedge = np.exp(-(((angle - side * 0.95) / 0.16) ** 2)) * step(distance - DISC_RADIUS, 0.03)
    picture *= (1 - 0.22 * wedge * np.exp(-distance / 0.35))[..., None]


def _macular_hole(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    cuff, hole = np.zeros_like(x), np.zeros_like(x)
    radius = rng.uniform(0.030, 0.042)
    stamp(cuff, rng, MACULA, (radius * 2.1, radius * 2.0), rough=0.05, soft=0.5)
    stamp(hole, rng, MACULA, (radius, radius), rough=0.06, soft=0.15)
    blend(picture, 0.50 * cuff, (0.62, 0.60, 0.42))
    blend(picture, 0.90 * hole, (0.50, 0.08, 0.04))


def _diabetic_retinopathy(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    blood, exudates = np.zeros_like(x), np.zeros_like(x)
    for _ in range(int(rng.integers(45, 75))):
        radius = rng.uniform(0.007, 0.019)
        stamp(blood, rng, _around(rng, (0.02, 0.0), 0.30), (radius, radius * 0.8), rough=0.3, soft=0.5)
    for _ in range(int(rng.integers(14, 26))):
        radius = rng.uniform(0.005, 0.012)
        stamp(exudates, rng, _around(rng, MACULA, 0.09), (radius, radius), rough=0.3, soft=0.4)
    blend(picture, 0.85 * blood, (0.34, 0.05, 0.03))
    blend(picture, 0.88 * exudates, (0.98, 0.90, 0.48))
    if rng.random() < 0.5:
        canvas = Canvas(x.shape[0])
        for _ in range(2):
            angle = rng.uniform(0, 2 * np.pi)
            tangle(canvas, rng, (float(0.45 * np.cos(angle)), float(0.36 * np.sin(angle))), 0.09, 11)
        blend(picture, 0.7 * canvas.field(), (0.42, 0.08, 0.05))


def _detachment(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    """A grey, folded swelling that comes in from the edge, with a horseshoe tear in it."""
    size = x.shape[0]
    angle = rng.uniform(-2.6, -0.6) if rng.random() < 0.6 else rng.uniform(0.6, 2.6)
    towards = x * np.cos(angle) / FIELD[0] + y * np.sin(angle) / FIELD[1]
    raised = step(towards - 0.42 + 0.10 * clouds(rng, size, 5), 0.10)
    folds = np.sin((towards * 26 + 2.2 * clouds(rng, size, 4)).astype(np.float32))
    shade = raised * (0.80 + 0.20 * folds)
    blend(picture, 0.72 * shade, (0.55, 0.60, 0.42))
    border = raised * (1 - raised) * 4
    picture *= (1 - 0.35 * border)[..., None]
    canvas = Canvas(size)
    for _ in range(5):
        t = np.linspace(0, 1, 12)[:, None]
        heading = np.array([[np.cos(angle), np.sin(angle)]])
        start = 0.42 * heading * FIELD + rng.normal(0, 0.12, 2)
        points = start + t * heading * 0.42 + 0.012 * np.sin(t * 9) * heading[:, ::-1] * (-1, 1)
        canvas.line(points, np.full(12, 0.010))
    blend(picture, 0.75 * canvas.field() * raised, (0.20, 0.08, 0.06))
    tear = np.zeros_like(x)
    at = (float(np.cos(angle) * 0.72 * FIELD[0]), float(np.sin(angle) * 0.72 * FIELD[1]))
    stamp(tear, rng, at, (0.05, 0.035), angle=float(angle), rough=0.25, soft=0.3)
    blend(picture, 0.9 * tear, (0.50, 0.16, 0.07))


def _pigmentosa(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    """Bone spicules: small pigmented stars in a ring, on a retina that has grown pale there."""
    size = x.shape[0]
    radius = np.hypot(x / 1.1, y)
    ring = np.exp(-(((radius - 0.52) / 0.20) ** 2))
    blend(picture, 0.35 * ring, (0.52, 0.50, 0.34))
    canvas = Canvas(size)
    for _ in range(int(rng.integers(60, 95))):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.normal(0.52, 0.11)
        at = np.array([distance * 1.1 * np.cos(angle), distance * np.sin(angle)])
        for arm in rng.uniform(0, 2 * np.pi, int(rng.integers(3, 5))):
            bend = arm + rng.normal(0, 0.5)
            length = rng.uniform(0.015, 0.038)
            middle = at + 0.55 * length * np.array([np.cos(arm), np.sin(arm)])
            end = middle + 0.45 * length * np.array([np.cos(bend), np.sin(bend)])
            canvas.line(np.stack([at, middle, end]), np.array([0.012, 0.009, 0.006]))
    blend(picture, 0.88 * canvas.field(), (0.10, 0.07, 0.04))


def whitening(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    """Of an occluded artery; it lies under the vessels, so the photo begins with it."""
    white = bump(x, y, (MACULA[0] + 0.03, MACULA[1]), 0.27)
    blend(picture, 0.72 * white * (1 + 0.12 * clouds(rng, x.shape[0], 12)), (0.86, 0.84, 0.64))


def _cherry_red_spot(picture: Picture, rng: np.random.Generator, x: Field, y: Field) -> None:
    spot = np.zeros_like(x)
    stamp(spot, rng, MACULA, (0.040, 0.038), rough=0.08, soft=0.5)
    blend(picture, 0.92 * spot, (0.66, 0.14, 0.06))


_Painter = Callable[[Picture, np.random.Generator, Field, Field], None]

DISEASES: dict[str, tuple[_Painter, tuple[str, ...]]] = {
    "amd": (_macular_degeneration, ("drusen", "geographic_atrophy", "pigmentary_change")),
    "rvo": (_vein_occlusion, ("retinal_hemorrhage", "venous_dilation", "cotton_wool_spot")),
    "glaucoma": (_glaucoma, ("optic_disc_cupping", "rim_thinning")),
    "macular_hole": (_macular_hole, ("full_thickness_macular_defect",)),
    "diabetic_retinopathy": (_diabetic_retinopathy, ("retinal_hemorrhage", "hard_exudate")),
    "retinal_detachment": (_detachment, ("retinal_elevation", "retinal_tear")),
    "retinitis_pigmentosa": (
        _pigmentosa,
        ("bone_spicule_pigmentation", "vessel_attenuation", "optic_disc_pallor"),
    ),
    "artery_occlusion": (_cherry_red_spot, ("retinal_whitening", "cherry_red_spot", "vessel_attenuation")),
}
"""Disease -> what draws it, and the findings that are then in the picture."""
