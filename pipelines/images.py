"""The images of ``images/images.lock``: each by its digest, or by its tag while it is `unpinned`.

The file lies beside this package, in a checkout as in an installed wheel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import ValidationError, field_validator

from fundus_r1.errors import SpecError
from fundus_r1.spec.base import UNPINNED, Spec

LOCK = Path(__file__).resolve().parents[1] / "images" / "images.lock"
ImageName = Literal["core", "vllm", "train"]
NAMES: tuple[ImageName, ...] = get_args(ImageName)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Image(Spec):
    """One entry of the lock."""

    repository: str
    """With the registry before it, where it is not the container runtime's own."""
    tag: str
    """A name for people; a registry may give it to another image tomorrow."""
    digest: str
    """What the image is, ``sha256:`` and 64 hexadecimal digits; or ``unpinned``."""
    purpose: str
    """What runs in it."""

    @field_validator("digest")
    @classmethod
    def _is_one(cls, value: str) -> str:
        if value != UNPINNED and not _DIGEST.fullmatch(value):
            raise ValueError(f"a digest is sha256: and 64 hexadecimal digits, or {UNPINNED}")
        return value

    @property
    def name(self) -> str:
        """What a pod is given: ``repository@digest``, or ``repository:tag`` while it is unpinned."""
        pinned = self.digest != UNPINNED
        return f"{self.repository}@{self.digest}" if pinned else f"{self.repository}:{self.tag}"


def read_images(lock: Path = LOCK) -> dict[ImageName, Image]:
    """The images of a lock.

    Raises:
        SpecError: the file cannot be read, or does not name exactly the images that pipelines use.
    """
    try:
        tree = yaml.safe_load(lock.read_text(encoding="utf-8"))
        if not isinstance(tree, dict) or set(tree) != set(NAMES):
            raise SpecError(
                f"The lock must name the images {', '.join(NAMES)}, and no other", where=str(lock)
            )
        return {name: Image.model_validate(tree[name]) for name in NAMES}
    except OSError as error:
        raise SpecError(
            f"The lock of the images cannot be read: {error.strerror}", where=str(lock)
        ) from error
    except (yaml.YAMLError, ValidationError) as error:
        raise SpecError(f"The lock of the images cannot be used: {error}", where=str(lock)) from error


def image_names(images: Mapping[ImageName, Image]) -> dict[str, str]:
    """Image -> what a pod is given."""
    return {name: image.name for name, image in images.items()}


def unpinned_images(images: Mapping[ImageName, Image]) -> list[str]:
    """The images without a digest."""
    return [name for name, image in images.items() if image.digest == UNPINNED]
