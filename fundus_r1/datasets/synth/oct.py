"""Synthetic OCT B-scans through the fovea: normal, drusen, CNV and DME.

The retina is built upwards from Bruch's membrane, layer by layer; a disease is what it adds between
them. Drusen are mounds under the pigment epithelium; CNV lifts it (pigment epithelial detachment) and
puts hyperreflective material and fluid on it; DME thickens the retina by cysts inside it. Drawings
for trying the system, not medical data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus_r1.datasets.synth.paint import Drawing, Field, clouds, grid, stamp, step, to_image

LABELS = ("normal", "cnv", "dme", "drusen")
FINDINGS = {
    "normal": (),
    "cnv": ("pigment_epithelial_detachment", "subretinal_fluid", "subretinal_hyperreflective_material"),
    "dme": ("intraretinal_fluid", "retinal_thickening"),
    "drusen": ("drusen",),
}
"""What is drawn for a label."""

Profile = NDArray[np.floating[Any]]
"""(size,): a height over the width of the scan, in units of the image's height."""


@dataclass
class _Disease:
    """What a disease adds, by place."""

    detachment: Profile
    """Between Bruch's membrane and the pigment epithelium."""
    detachment_grey: float
    material: Profile
    """Hyperreflective, on the pigment epithelium."""
    fluid: Profile
    """Between that and the photoreceptors."""
    thickening: Profile
    """Of the inner and outer nuclear layers together."""
    cysts: tuple[tuple[float, float, float, float], ...] = ()
    """x, depth in the retina (0 inner, 1 outer), width, height."""


def draw(rng: np.random.Generator, size: int, label: str, *, left_eye: bool = False) -> Drawing:
    """One B-scan, grey.

    Args:
        rng: of everything in it.
        size: side in pixels.
        label: one of `LABELS`.
        left_eye: the thick nerve fibres of the nasal side are on the left.
    """
    x = np.linspace(-1, 1, size, dtype=np.float32)
    fovea = float(rng.uniform(-0.12, 0.12))
    disease = _disease(rng, label, x, fovea)
    layers, tops = _layers(rng, x, fovea, disease)
    picture = _paint_layers(rng, size, layers)
    _choroid(picture, rng, tops["bruch"])
    _cysts(picture, rng, disease, tops)
    _retinal_vessels(picture, rng, x, tops, fovea)
    if label == "dme":
        _bright_foci(picture, rng, tops, fovea)
    return Drawing(to_image(_scanner(picture, rng), left_eye=left_eye), FINDINGS[label])


def _hill(x: Profile, at: float, width: float) -> Profile:
    return np.exp(-(((x - np.float32(at)) / np.float32(width)) ** 2)).astype(np.float32)


def _dome(x: Profile, at: float, width: float) -> Profile:
    return np.sqrt(np.clip(1 - ((x - np.float32(at)) / np.float32(width)) ** 2, 0, 1)).astype(np.float32)


def _disease(rng: np.random.Generator, label: str, x: Profile, fovea: float) -> _Disease:
    none = np.zeros_like(x)
    result = _Disease(none.copy(), 0.5, none.copy(), none.copy(), none.copy())
    if label == "drusen":
        for at in fovea + rng.uniform(-0.55, 0.55, int(rng.integers(5, 10))):
            width, height = rng.uniform(0.035, 0.085), rng.uniform(0.014, 0.034)
            result.detachment = np.maximum(result.detachment, height * _hill(x, at, width))
        result.detachment_grey = 0.55
    elif label == "cnv":
        at, width = fovea + rng.uniform(-0.15, 0.15), rng.uniform(0.22, 0.36)
        result.detachment = rng.uniform(0.05, 0.095) * _dome(x, at, width) ** 1.3
        result.detachment *= 1 + 0.25 * np.sin(x * 17 + np.float32(rng.uniform(0, 6)))
        result.detachment_grey = float(rng.uniform(0.24, 0.42))
        side = at + rng.choice((-1, 1)) * width * 0.55
        result.material = rng.uniform(0.03, 0.05) * _hill(x, side, width * 0.42)
        wide = width * rng.uniform(1.35, 1.7)
        result.fluid = rng.uniform(0.03, 0.055) * _dome(x, at + 0.10, wide)
        result.thickening = 0.02 * _hill(x, at, 0.5)
    elif label == "dme":
        result.thickening = rng.uniform(0.13, 0.19) * _hill(x, fovea, rng.uniform(0.34, 0.5))
        cysts = [(fovea + rng.normal(0, 0.03), 0.56, rng.uniform(0.09, 0.13), rng.uniform(0.05, 0.07))]
        for _ in range(int(rng.integers(7, 13))):
            depth = float(rng.choice((0.36, 0.62))) + rng.normal(0, 0.03)
            cysts.append(
                (fovea + rng.normal(0, 0.26), depth, rng.uniform(0.025, 0.06), rng.uniform(0.022, 0.042))
            )
        result.cysts = tuple(cysts)
    return result


def _layers(
    rng: np.random.Generator, x: Profile, fovea: float, disease: _Disease
) -> tuple[list[tuple[Profile, float]], dict[str, Profile]]:
    """Upper borders with the grey below each, from top to bottom, and the borders by name."""
    scale = np.float32(rng.uniform(0.92, 1.08))
    pit = _hill(x, fovea, 0.15)
    rim = 0.25 * (_hill(x, fovea - 0.34, 0.22) + _hill(x, fovea + 0.34, 0.22))
    inner = (1 - 0.93 * pit + rim) * scale
    bowl = rng.uniform(0.02, 0.06) * x**2 + rng.uniform(-0.035, 0.035) * x
    bruch = (rng.uniform(0.63, 0.68) - bowl).astype(np.float32)
    thick = disease.thickening
    # The outer nuclear layer gives way to what rises below it, so that the surface stays smooth.
    nuclear = 0.058 * scale * (1 + 0.35 * pit) - 0.65 * disease.detachment
    nuclear = np.maximum(nuclear, 0.015) + 0.60 * thick
    # Thickness, grey and name of each layer from Bruch's membrane up.
    stack: list[tuple[Profile | float, float, str]] = [
        (disease.detachment, disease.detachment_grey, "sub_rpe"),
        (0.020, 0.93, "rpe"),
        (disease.material, 0.72, "material"),
        (disease.fluid, 0.05, "fluid"),
        (0.014, 0.40, "outer_segments"),
        (0.011, 0.82, "ellipsoid"),
        (0.012, 0.30, "inner_segments"),
        (0.004, 0.46, "limiting"),
        (nuclear, 0.20, "outer_nuclear"),
        (0.018 * inner + 0.004, 0.50, "outer_plexiform"),
        (0.030 * inner + 0.40 * thick, 0.27, "inner_nuclear"),
        (0.062 * inner, 0.47, "ganglion"),
        (0.008 + 0.022 * inner * (0.35 + 0.65 * step(x - fovea, 1.2)), 0.76, "nerve_fibres"),
    ]
    border = bruch
    tops = {"bruch": bruch}
    layers: list[tuple[Profile, float]] = [(bruch, 0.46)]
    for thickness, grey, name in stack:
        border = border - np.asarray(thickness, dtype=np.float32)
        tops[name] = border
        layers.append((border, grey))
    return layers[::-1], tops


def _paint_layers(rng: np.random.Generator, size: int, layers: list[tuple[Profile, float]]) -> Field:
    _, y = grid(size)
    rows = (y + 1) / 2
    soft = max(0.006, 1.2 / size)
    picture = np.full((size, size), 0.045, dtype=np.float32)
    before = np.float32(0.045)
    for border, grey in layers:
        picture += step(rows - border[None, :], soft) * np.float32(grey - before)
        before = np.float32(grey)
    return picture * (1 + 0.10 * clouds(rng, size, 20, squeeze=0.6))


def _choroid(picture: Field, rng: np.random.Generator, bruch: Profile) -> None:
    """Dark vessels in bright stroma that fade with depth; light is lost below thick tissue."""
    size = picture.shape[0]
    _, y = grid(size)
    depth = (y + 1) / 2 - bruch[None, :]
    below = step(depth - 0.004, 0.01)
    vessels = step(clouds(rng, size, 17, squeeze=1.7) - 0.05, 0.5)
    fade = np.exp(-np.clip(depth, 0, 1) / 0.085)
    # Bruch's membrane itself stays visible below a detachment as a thin line.
    membrane = np.exp(-((depth / 0.005) ** 2)) * 0.35
    target = fade * (0.62 - 0.34 * vessels) + 0.03
    picture += below * (target - picture)
    np.maximum(picture, membrane, out=picture)


def _cysts(picture: Field, rng: np.random.Generator, disease: _Disease, tops: dict[str, Profile]) -> None:
    size = picture.shape[0]
    dark = np.zeros_like(picture)
    for x, depth, width, height in disease.cysts:
        column = int(np.clip((x + 1) / 2 * size, 0, size - 1))
        upper, lower = tops["ganglion"][column], tops["limiting"][column]
        y = float(upper + depth * (lower - upper)) * 2 - 1
        room = float(lower - upper)
        stamp(dark, rng, (x, y), (width, min(height, 0.42 * room) * 1.6), rough=0.12, soft=0.25)
    picture += dark * (0.05 - picture)


def _retinal_vessels(
    picture: Field, rng: np.random.Generator, x: Profile, tops: dict[str, Profile], fovea: float
) -> None:
    """Bright dots in the inner retina, each with its shadow below."""
    size = picture.shape[0]
    _, y = grid(size)
    bright = np.zeros_like(picture)
    for at in rng.uniform(-0.95, 0.95, int(rng.integers(3, 7))):
        if abs(at - fovea) < 0.28:
            continue
        column = int((at + 1) / 2 * size)
        top = float(tops["ganglion"][column]) * 2 - 1
        shadow = 0.42 * _hill(x, at, 0.013)[None, :] * step(y - top - 0.03, 0.05)
        picture *= 1 - shadow
        stamp(bright, rng, (float(at), top), (0.014, 0.017), rough=0.1, soft=0.8)
    np.maximum(picture, 0.85 * bright, out=picture)


def _bright_foci(picture: Field, rng: np.random.Generator, tops: dict[str, Profile], fovea: float) -> None:
    size = picture.shape[0]
    bright = np.zeros_like(picture)
    for at in fovea + rng.normal(0, 0.3, int(rng.integers(4, 9))):
        column = int(np.clip((at + 1) / 2 * size, 0, size - 1))
        share = rng.uniform(0.15, 0.9)
        y = tops["ganglion"][column] * (1 - share) + tops["limiting"][column] * share
        stamp(bright, rng, (float(at), float(y) * 2 - 1), (0.011, 0.009), rough=0.2, soft=0.6)
    np.maximum(picture, 0.9 * bright, out=picture)


def _scanner(picture: Field, rng: np.random.Generator) -> Field:
    """Speckle, which grows with the signal, over a floor of noise."""
    size = picture.shape[0]
    speckle: Field = rng.gamma(7.0, 1 / 7.0, (size, size)).astype(np.float32)
    # Averaged scans are smoother along the scan than across it.
    speckle = (speckle + np.roll(speckle, 1, axis=1)) / 2
    floor = np.abs(rng.normal(0, 0.022, (size, size))).astype(np.float32)
    return np.clip(picture, 0, 1) * (0.35 + 0.65 * speckle) + floor
