"""Image files that strangers made."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_r1.datasets.images import BadImageError, Limits, examine, foreground, travelling_bytes
from fundus_r1.errors import DataError
from fundus_r1.fingerprint import sha256

LIMITS = Limits(min_side=16, max_pixels=10_000)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def put(folder: Path, data: bytes, name: str = "image") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def travelled(path: Path) -> Image.Image:
    """The picture that travels, as any reader would open it."""
    return Image.open(io.BytesIO(travelling_bytes(path, examine(path, LIMITS), LIMITS)))


def huge_png(width: int, height: int) -> bytes:
    """A file of a few hundred bytes that claims to be enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is a text, not a picture", "unreadable"),
        (encoded(RGB, "PNG")[:-600], "truncated"),
        (encoded(RGB, "JPEG")[:-600], "truncated"),
        (encoded(RGB, "TIFF")[:-600], "truncated"),
        (encoded(RGB, "JPEG")[:12], "truncated"),
        (huge_png(50_000, 50_000), "too_large"),
        (huge_png(101, 100), "too_large"),
        (encoded(RGB.resize((15, 90)), "PNG"), "too_small"),
        (encoded(RGB, "PNG") + bytes(2_000_000), "too_large"),
        (encoded(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF"), "unreadable"),
    ],
)
def test_a_bad_file_has_a_typed_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(BadImageError) as caught:
        examine(put(tmp_path, data), LIMITS)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_what_is_no_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("nothing.png", "dangling.png", "folder.png"):
        with pytest.raises(BadImageError) as caught:
            examine(tmp_path / name, LIMITS)
        assert caught.value.reason == "missing"


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(BadImageError) as caught:
        examine(put(tmp_path, huge_png(9_000, 9_000)), LIMITS)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(("format", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_ordinary_files_keep_their_bytes(tmp_path: Path, format: str, media_type: str, mode: str) -> None:
    data = encoded(RGB.convert(mode), format)
    path = put(tmp_path, data, "misnamed.txt")
    facts = examine(path, LIMITS)
    assert facts.digest == sha256(data)
    assert (facts.width, facts.height, facts.media_type) == (48, 40, media_type)
    assert travelling_bytes(path, facts, LIMITS) == data


@pytest.mark.parametrize("format", ["TIFF", "BMP", "WEBP"])
def test_other_formats_travel_as_png_with_the_same_pixels(tmp_path: Path, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    path = put(tmp_path, encoded(RGB, format, **options))
    facts = examine(path, LIMITS)
    assert facts.media_type == "image/png"
    assert travelled(path).format == "PNG"
    assert np.array_equal(np.asarray(travelled(path)), PIXELS)
    assert facts.pixels == examine(put(tmp_path, encoded(RGB, "PNG"), "png"), LIMITS).pixels


def test_a_grey_picture_has_one_pixel_digest_however_it_is_stored(tmp_path: Path) -> None:
    grey = RGB.convert("L")
    stored = [
        encoded(grey, "PNG"),
        encoded(grey.convert("RGB"), "PNG"),
        encoded(grey, "TIFF"),
        encoded(grey.convert("P"), "PNG"),
        encoded(grey.convert("LA"), "PNG"),
    ]
    facts = [examine(put(tmp_path, data, str(n)), LIMITS) for n, data in enumerate(stored)]
    assert len({fact.pixels for fact in facts}) == 1
    assert len({fact.digest for fact in facts}) == len(stored)


def test_pixel_digest_knows_the_shape(tmp_path: Path) -> None:
    flat = Image.new("L", (40, 20)), Image.new("L", (20, 40))
    digests = {examine(put(tmp_path, encoded(i, "PNG"), str(i.size)), LIMITS).pixels for i in flat}
    assert len(digests) == 2


def test_sixteen_bits_become_eight_by_a_fixed_scale(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 48 * 40).reshape(40, 48).astype(np.uint16)
    path = put(tmp_path, encoded(Image.fromarray(values), "PNG"))
    image = travelled(path)
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), values >> 8)


def test_transparency_is_laid_on_black(tmp_path: Path) -> None:
    clear = RGB.convert("RGBA")
    clear.putalpha(0)
    image = travelled(put(tmp_path, encoded(clear, "PNG")))
    assert image.mode == "RGB"
    assert not np.asarray(image).any()


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = RGB.quantize(16)
    image = travelled(put(tmp_path, encoded(palette, "PNG")))
    assert np.array_equal(np.asarray(image), np.asarray(palette.convert("RGB")))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    flat = Image.new("RGB", (48, 40), (200, 40, 20))
    path = put(tmp_path, encoded(flat.convert("CMYK"), "JPEG", quality=100))
    image = travelled(path)
    assert (image.mode, image.format) == ("RGB", "PNG")
    assert np.abs(np.asarray(image, dtype=int) - (200, 40, 20)).max() < 12


def test_a_rotation_known_to_exif_alone_is_carried_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = put(tmp_path, encoded(RGB, "PNG", exif=exif))
    facts = examine(path, LIMITS)
    assert (facts.width, facts.height) == (40, 48)
    assert np.array_equal(np.asarray(travelled(path)), np.rot90(PIXELS, -1))


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    data = encoded(RGB, "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    path = put(tmp_path, data)
    assert travelling_bytes(path, examine(path, LIMITS), LIMITS) == data


def test_a_file_that_changes_underneath_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path, encoded(RGB, "PNG"))
    facts = examine(path, LIMITS)
    put(tmp_path, encoded(RGB.convert("L"), "PNG"))
    with pytest.raises(DataError, match="changed"):
        travelling_bytes(path, facts, LIMITS)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        travelling_bytes(path, facts, LIMITS)


def test_foreground_of_masks(tmp_path: Path) -> None:
    empty = Image.new("L", (48, 40))
    marked = empty.copy()
    marked.putpixel((7, 7), 1)
    palette = empty.convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    dotted = palette.copy()
    dotted.putpixel((3, 3), 1)
    for image, expected in ((empty, False), (marked, True), (palette, False), (dotted, True)):
        path = put(tmp_path, encoded(image, "TIFF"))
        assert foreground(path, (48, 40), LIMITS) is expected
    with pytest.raises(BadImageError, match="48 x 40"):
        foreground(path, (40, 48), LIMITS)


SOUND = [encoded(RGB, format) for format in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_gets_through_untyped(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SOUND)))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path, bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        facts = examine(path, LIMITS)
    except BadImageError as error:
        assert error.reason in ("empty", "truncated", "unreadable", "too_large", "too_small")
    else:
        with Image.open(io.BytesIO(travelling_bytes(path, facts, LIMITS))) as image:
            assert f"image/{image.format.lower()}" == facts.media_type
