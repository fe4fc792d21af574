"""Pictures inside files, and masks of which only some values count."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_r1.datasets.images import BadImageError, Limits, examine, foreground, travelling_bytes
from fundus_r1.datasets.views import Half, Mask, Plane
from fundus_r1.errors import DataError
from fundus_r1.pictures import Span

LIMITS = Limits(4, 100_000)
Make = Callable[..., Path]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_halves_of_an_odd_width_hold_every_pixel_once(picture: Make) -> None:
    image = Image.fromarray(np.arange(9 * 10 * 3, dtype=np.uint8).reshape(10, 9, 3))
    path = picture("a.png", image=image)
    halves = [Half(path, "left"), Half(path, "right")]
    travelled = [pixels(travelling_bytes(half, examine(half, LIMITS), LIMITS)) for half in halves]
    assert np.array_equal(np.hstack(travelled), np.asarray(image))
    facts = examine(halves[0], LIMITS)
    assert (facts.width, facts.height, facts.kept) == (4, 10, False)


def test_a_half_is_held_to_the_limits_itself(picture: Make) -> None:
    path = picture("a.png")
    with pytest.raises(BadImageError, match="too_small"):
        examine(Half(path, "left"), Limits(30, 100_000))


def test_a_plane_is_read_from_where_it_lies_in_the_volume(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 6, 8), dtype=np.uint8)
    (tmp_path / "v.raw").write_bytes(b"head" + values.tobytes())
    planes = [Plane(Span(tmp_path / "v.raw", 4 + 48 * n, 48), 8, 6, 8) for n in range(3)]
    facts = [examine(plane, LIMITS) for plane in planes]
    assert len({fact.digest for fact in facts}) == 3
    assert np.array_equal(pixels(travelling_bytes(planes[1], facts[1], LIMITS)), values[1])


@pytest.mark.parametrize(
    ("span", "reason"),
    [((0, 48), "unreadable"), ((0, 0), "empty"), ((40, 96), "truncated"), ((0, 10**7), "too_large")],
)
def test_a_span_that_is_no_plane_has_a_typed_reason(
    tmp_path: Path, span: tuple[int, int], reason: str
) -> None:
    (tmp_path / "v.raw").write_bytes(bytes(96))
    with pytest.raises(BadImageError) as caught:
        examine(Plane(Span(tmp_path / "v.raw", *span), 12, 8, 8), LIMITS)
    assert caught.value.reason == reason


def test_a_picture_in_a_tables_cell_keeps_its_own_bytes(picture: Make, tmp_path: Path) -> None:
    data = picture("a.jpg").read_bytes()
    cell = base64.b64encode(data)
    (tmp_path / "t.tsv").write_bytes(b"7\t" + cell + b"\tx\n")
    span = Span(tmp_path / "t.tsv", 2, len(cell), base64=True)
    facts = examine(span, LIMITS)
    assert (facts.media_type, facts.kept) == ("image/jpeg", True)
    assert facts == examine(tmp_path / "a.jpg", LIMITS)
    assert travelling_bytes(span, facts, LIMITS) == data


def test_a_cell_that_is_no_base64_or_no_picture_has_a_typed_reason(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(b"!!!!" + base64.b64encode(b"hello there, nothing to see"))
    for span, word in ((Span(tmp_path / "t.tsv", 0, 40, base64=True), "base64"),
                       (Span(tmp_path / "t.tsv", 4, 36, base64=True), "the file is no PNG")):  # fmt: skip
        with pytest.raises(BadImageError, match=word) as caught:
            examine(span, LIMITS)
        assert caught.value.reason == "unreadable"


def test_a_volume_that_changes_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "v.raw").write_bytes(bytes(96))
    plane = Plane(Span(tmp_path / "v.raw", 48, 48), 8, 6, 8)
    facts = examine(plane, LIMITS)
    (tmp_path / "v.raw").write_bytes(bytes([1]) * 96)
    with pytest.raises(DataError, match="changed") as caught:
        travelling_bytes(plane, facts, LIMITS)
    assert "v.raw from byte 48" in caught.value.where


def test_a_mask_counts_its_own_values_only(picture: Make) -> None:
    grey = Image.new("L", (48, 40))
    grey.paste(127, (5, 5, 9, 9))
    path = picture("m.png", image=grey)
    assert [foreground(Mask(path, low), (48, 40), LIMITS) for low in (1, 127, 128)] == [True, True, False]
    assert foreground(Mask(path, 100, 126), (48, 40), LIMITS) is False
    with pytest.raises(BadImageError, match="its image has 40 x 48"):
        foreground(Mask(path, 1), (40, 48), LIMITS)


def test_a_colour_is_met_in_all_its_channels(picture: Make) -> None:
    image = Image.new("RGB", (48, 40))
    image.paste((255, 255, 0), (5, 5, 9, 9))
    path = picture("m.png", image=image)
    red, yellow = (255, 0, 0), (255, 255, 0)
    assert [foreground(Mask(path, c, c), (48, 40), LIMITS) for c in (red, yellow)] == [False, True]


def test_a_colour_in_a_grey_mask_marks_nothing(picture: Make) -> None:
    path = picture("m.png", image=Image.new("L", (48, 40), 255))
    assert foreground(Mask(path, (255, 0, 0), (255, 0, 0)), (48, 40), LIMITS) is False
