"""Images small enough to travel inside a page."""

from __future__ import annotations

import base64
import io

SIDE = 448
QUALITY = 85


def thumbnail(image: bytes) -> str:
    """A data URI of the image, its longer side at most `SIDE` pixels.

    Args:
        image: PNG or JPEG.
    """
    from PIL import Image

    with Image.open(io.BytesIO(image)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    target = io.BytesIO()
    small.save(target, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}"
