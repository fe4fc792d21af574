"""Reading image files that strangers made: nothing is decoded before it is known to be reasonable.

The rule: a file either yields `ImageFacts`, or a `BadImageError` with a typed reason that becomes a row
of the quarantine. What travels with a row is what every reader sees alike: an upright 8-bit grey or
RGB PNG or JPEG keeps its bytes; all else (TIFF, BMP, 16 bits, a palette, transparency, CMYK, a
rotation that only EXIF knows) is re-encoded as PNG. So is a picture that is no whole file: one half of
a file's picture (`Half`), or a plane of a volume (`Plane`).
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fundus_r1.datasets.views import Half, Mask, Picture, Plane, source_of
from fundus_r1.errors import DataError
from fundus_r1.fingerprint import sha256
from fundus_r1.pictures import Span

Reason = Literal["empty", "truncated", "unreadable", "too_large", "too_small", "missing"]

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_JPEG = b"\xff\xd8\xff"
_SIGNATURES = (_JPEG, b"\x89PNG", b"II*\x00", b"MM\x00*", b"BM", b"RIFF")
# What Pillow raises on damaged files, beyond OSError: chunk checks, short reads, absurd headers.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, struct.error, zlib.error,
)  # fmt: skip
# 16-bit RGBA is the fattest pixel; a file that is larger holds something else than its picture.
_BYTES_A_PIXEL = 8
_HEADERS = 1 << 20


class BadImageError(Exception):
    """An image file that cannot be used. Always caught by the caller, who quarantines it."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """What is accepted (see `spec.science.Index`)."""

    min_side: int = 32
    """Pixels."""
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class ImageFacts:
    """What is known of a picture that could be decoded."""

    digest: str
    """SHA-256 of the file's bytes (of the plane's or of the decoded cell's, inside a larger file)."""
    pixels: str
    """SHA-256 of mode, size and decoded pixels; a grey picture counts as grey however it is stored."""
    width: int
    height: int
    media_type: Literal["image/png", "image/jpeg"]
    """Of the bytes that travel."""
    kept: bool
    """Whether the file's own bytes travel; else the picture is re-encoded."""


def examine(picture: Picture, limits: Limits) -> ImageFacts:
    """Reads and decodes one picture.

    Raises:
        BadImageError: it cannot be used.
    """
    data = _read(picture, limits)
    image, plain = _decode(picture, data, limits)
    return ImageFacts(
        digest=sha256(data),
        pixels=_pixel_digest(image),
        width=image.width,
        height=image.height,
        media_type="image/jpeg" if plain and data.startswith(_JPEG) else "image/png",
        kept=plain,
    )


def travelling_bytes(picture: Picture, facts: ImageFacts, limits: Limits) -> bytes:
    """The bytes that travel with the row of an examined picture.

    Raises:
        DataError: it is no longer what was examined.
    """
    try:
        data = _read(picture, limits)
        if sha256(data) != facts.digest:
            raise BadImageError("unreadable", "its content changed")
        return data if facts.kept else _png(_decode(picture, data, limits)[0])
    except BadImageError as error:
        raise DataError(
            f"An image changed while it was being read: {error.detail}",
            where=str(source_of(picture)),
            hint="leave the data folders alone while a run reads them, and run again",
        ) from error


def foreground(mask: Picture | Mask, size: tuple[int, int], limits: Limits) -> bool:
    """Whether a lesion mask marks anything; pixels other than black do, if no `Mask` says which.

    Args:
        mask: where it lies.
        size: (width, height) in pixels that the mask must have.

    Raises:
        BadImageError: the file cannot be used, or has another size.
    """
    picture = mask.picture if isinstance(mask, Mask) else mask
    image, _ = _decode(picture, _read(picture, limits), limits)
    if image.size != size:
        raise BadImageError(
            "unreadable", f"the mask has {_times(image.size)} pixels, its image has {_times(size)}"
        )
    return mask.marks(image) if isinstance(mask, Mask) else bool(np.asarray(image).any())


def _read(picture: Picture, limits: Limits) -> bytes:
    source = source_of(picture)
    path = source.file if isinstance(source, Span) else source
    if not path.is_file():
        raise BadImageError("missing", "there is no such file")
    try:
        size = source.length if isinstance(source, Span) else path.stat().st_size
        if size == 0:
            raise BadImageError("empty", "the file has no content")
        if size > limits.max_pixels * _BYTES_A_PIXEL + _HEADERS:
            raise BadImageError("too_large", f"the file has {size} bytes")
        return source.read() if isinstance(source, Span) else path.read_bytes()
    except OSError as error:
        raise BadImageError("unreadable", error.strerror or str(error)) from error
    except EOFError as error:
        raise BadImageError("truncated", str(error)) from error
    except ValueError as error:
        raise BadImageError("unreadable", f"the cell is no base64 text: {error}") from error


def _decode(picture: Picture, data: bytes, limits: Limits) -> tuple[Image.Image, bool]:
    """The picture as upright 8-bit L or RGB, and whether the bytes hold just that already."""
    if isinstance(picture, Plane):
        _check_size((picture.width, picture.height), limits)
        return _from_plane(picture, data), False
    image, plain = _decode_file(data, limits)
    if isinstance(picture, Half):
        image, plain = picture.of(image), False
        _check_size(image.size, limits)
    return image, plain


def _from_plane(plane: Plane, data: bytes) -> Image.Image:
    try:
        values = plane.values(data)
    except ValueError as error:
        size = _times((plane.width, plane.height))
        raise BadImageError("unreadable", f"{len(data)} bytes are no {size} pixels") from error
    return Image.fromarray(np.ascontiguousarray(values)) if plane.bits == 8 else _from_16bit(values)


def _decode_file(data: bytes, limits: Limits) -> tuple[Image.Image, bool]:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, limits)
            image.load()
            plain = _is_plain(image, data)
            return (image if plain else _upright_8bit(image)), plain
    except Image.DecompressionBombError as error:
        raise BadImageError("too_large", str(error)) from error
    except UnidentifiedImageError as error:
        if data.startswith(_SIGNATURES):
            raise BadImageError("truncated", "its header is cut off or damaged") from error
        raise BadImageError("unreadable", f"the file is no {', '.join(FORMATS)}") from error
    except _DAMAGE as error:
        cut = any(word in str(error).lower() for word in ("truncat", "broken data stream", "unexpected end"))
        raise BadImageError("truncated" if cut else "unreadable", str(error)) from error


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise BadImageError("too_large", f"{_times(size)} pixels, more than {limits.max_pixels}")
    if min(size) < limits.min_side:
        raise BadImageError("too_small", f"{_times(size)} pixels, a side under {limits.min_side}")


def _is_plain(image: Image.Image, data: bytes) -> bool:
    if image.mode not in ("L", "RGB") or _is_rotated(image):
        return False
    if image.format in ("JPEG", "MPO"):
        return True
    # Byte 24 of a PNG is its bit depth: Pillow shows 16-bit RGB as 8-bit, other readers don't.
    deep = data[24] != 8
    animated = getattr(image, "is_animated", False)
    return image.format == "PNG" and not deep and not animated and "transparency" not in image.info


def _is_rotated(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    except _DAMAGE:
        # Damaged metadata does not make the picture unreadable.
        return False


def _upright_8bit(image: Image.Image) -> Image.Image:
    if _is_rotated(image):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return _from_16bit(np.asarray(image))
    if image.mode == "F":
        raise BadImageError("unreadable", "floating-point pixels have no agreed range")
    if image.has_transparency_data:
        # Black is what surrounds the eye in all three modalities.
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("RGB")
    return image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")


def _from_16bit(grey: np.ndarray) -> Image.Image:
    """By a fixed scale; stretching to the picture's own range would change what grey means."""
    values = grey.astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise BadImageError("unreadable", "the pixels have more than 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _pixel_digest(image: Image.Image) -> str:
    if image.mode == "RGB":
        values = np.asarray(image)
        if np.array_equal(values[..., 0], values[..., 1]) and np.array_equal(values[..., 0], values[..., 2]):
            image = image.getchannel(0)
    digest = hashlib.sha256(f"{image.mode} {_times(image.size)} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
