"""What is drawn looks as it should, at any size."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fundus_r1.datasets.synth import cfp, oct, uwf
from fundus_r1.datasets.synth.paint import generator, grid, stamp, step
from fundus_r1.datasets.synth.uwf_diseases import DISEASES


def bright_side(image: np.ndarray) -> str:
    """Where the brightest spot, the disc, is."""
    blurred = image.mean(axis=2).reshape(16, image.shape[0] // 16, 16, -1).mean(axis=(1, 3))
    return "left" if np.argmax(blurred) % 16 < 8 else "right"


def dark_in_retina(scan: np.ndarray) -> float:
    """Share of dark pixels in the 40 rows below the surface, in the middle third."""
    smooth = sum(np.roll(scan, shift, axis=(0, 1)) for shift in ((0, 0), (1, 0), (0, 1), (1, 1))) / 4
    columns = smooth[:, 75:150]
    surface = (columns > 80).argmax(axis=0)
    rows = surface[None, :] + np.arange(6, 46)[:, None]
    return float((np.take_along_axis(columns, rows, axis=0) < 28).mean())


@pytest.mark.parametrize("left_eye", [True, False])
def test_the_disc_is_on_the_side_of_the_eye(left_eye: bool) -> None:
    drawing = cfp.draw(generator("side"), 224, 0, left_eye=left_eye)
    assert bright_side(np.asarray(drawing.image, dtype=float)) == ("left" if left_eye else "right")


@pytest.mark.parametrize("size", [64, 224, 300])
@pytest.mark.parametrize("grade", range(5))
def test_grades_follow_the_international_scale(size: int, grade: int) -> None:
    for number in range(3):
        drawing = cfp.draw(generator("scale", number), size, grade)
        assert drawing.image.size == (size, size)
        found = set(drawing.findings)
        assert ("microaneurysm" in found) == (grade >= 1)
        assert ("retinal_hemorrhage" in found) == (grade >= 2)
        assert ("venous_beading" in found) == (grade == 3)
        assert ("neovascularization" in found) == (grade == 4)
        if grade < 2:
            assert found <= {"microaneurysm"}
        assert set(drawing.masks) == found & set(cfp.MASKED)
        for mask in drawing.masks.values():
            assert mask.shape == (size, size)
            assert mask.any()


def test_severe_haemorrhages_are_in_all_four_quadrants() -> None:
    for number in range(4):
        mask = cfp.draw(generator("severe", number), 224, 3).masks["retinal_hemorrhage"]
        for half in (mask[:112], mask[112:]):
            for quadrant in (half[:, :112], half[:, 112:]):
                assert quadrant.any()


def test_masks_are_mirrored_with_the_picture() -> None:
    right = cfp.draw(generator("mirror"), 96, 3, left_eye=False)
    left = cfp.draw(generator("mirror"), 96, 3, left_eye=True)
    assert np.array_equal(np.asarray(left.image)[:, ::-1], np.asarray(right.image))
    for finding, mask in right.masks.items():
        assert np.array_equal(left.masks[finding][:, ::-1], mask)


def test_diseases_change_the_scan_where_they_should() -> None:
    scans = {label: oct.draw(generator("same"), 224, label) for label in oct.LABELS}
    dark = {label: dark_in_retina(np.asarray(d.image, dtype=float)) for label, d in scans.items()}
    # Fluid is dark, and only these two have it.
    assert min(dark["cnv"], dark["dme"]) > 5 * max(dark["normal"], dark["drusen"])
    assert all(d.image.mode == "L" for d in scans.values())
    assert {label: bool(d.findings) for label, d in scans.items()} == {
        "normal": False, "cnv": True, "dme": True, "drusen": True,
    }  # fmt: skip


@pytest.mark.parametrize("label", DISEASES)
def test_each_disease_shows_in_the_wide_field(label: str) -> None:
    normal = np.asarray(uwf.draw(generator("wide"), 128, ()).image, dtype=int)
    drawing = uwf.draw(generator("wide"), 128, (label,))
    assert np.abs(np.asarray(drawing.image, dtype=int) - normal).max() > 60
    assert drawing.findings == DISEASES[label][1]


def test_diseases_can_be_drawn_together() -> None:
    both = uwf.draw(generator("both"), 96, ("rvo", "glaucoma"))
    assert both.findings == DISEASES["rvo"][1] + DISEASES["glaucoma"][1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: cfp.draw(rng, 96, 4),
        lambda rng: oct.draw(rng, 96, "dme"),
        lambda rng: uwf.draw(rng, 96, ("retinitis_pigmentosa",)),
    ],
)
def test_a_drawing_depends_on_its_key_alone(draw) -> None:  # type: ignore[no-untyped-def]
    first, again, other = (draw(generator("key", n)).image.tobytes() for n in (1, 1, 2))
    assert first == again != other


def test_a_stamp_is_never_lost_between_pixels() -> None:
    for number in range(200):
        rng = generator("stamp", number)
        field = np.zeros((64, 64), dtype=np.float32)
        at = (float(rng.uniform(-0.9, 0.9)), float(rng.uniform(-0.9, 0.9)))
        stamp(field, rng, at, (0.004, 0.004))
        assert field.max() > 0.5
    stamp(field, rng, (5.0, 5.0), (0.1, 0.1))


def test_the_grid_and_the_step_are_what_they_say() -> None:
    x, y = grid(4)
    assert x[0].tolist() == y[:, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert step(np.array([-1.0, 0.0, 1.0]), 1.0).tolist() == [0.0, 0.5, 1.0]


def test_drawing_is_fast() -> None:
    started = time.process_time()
    for number in range(4):
        cfp.draw(generator("fast", number), 224, 3)
        oct.draw(generator("fast", number), 224, "cnv")
        uwf.draw(generator("fast", number), 224, ("rvo",))
    # 45 ms on one core of a plain machine; the bound is loose because machines are shared.
    assert (time.process_time() - started) / 12 < 0.25
