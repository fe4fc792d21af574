"""Images small enough to travel inside a page."""

from __future__ import annotations

import base64
import io

from fundus_r1.errors import DataError

SIDE = 448
QUALITY = 85


def thumbnail(image: bytes, *, side: int = SIDE, quality: int = QUALITY) -> str:
    """A data URI of the image.

    Args:
        image: PNG or JPEG.
        side: pixels of the longer side, at most.
        quality: of the JPEG, 1 to 95.

    Raises:
        DataError: it cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as opened:
            # A JPEG can be decoded at a fraction of its size; twice the side keeps the scaling smooth.
            opened.draft("RGB", (2 * side, 2 * side))
            small = opened.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(
            f"An image of the index cannot be decoded: {error}",
            where=f"{len(image)} bytes that begin with {image[:8]!r}",
            hint="delete the index's record in the store and run again",
        ) from error
    small.thumbnail((side, side))
    target = io.BytesIO()
    small.save(target, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}"
