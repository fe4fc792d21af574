"""The one protocol of all stores. Keys are ``/``-separated, relative, below the store's prefix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Stat:
    """What is known of an object without reading it."""

    size: int
    """Bytes."""
    etag: str
    """Changes with the content; what conditional writes compare."""


class Conflict(Exception):  # noqa: N818 - an answer, not a fault
    """A conditional write met another state than it demanded. Always caught by the caller."""


class Store(Protocol):
    """An object store. A PUT is atomic: readers see the whole object or none."""

    uri: str
    """``s3://bucket/prefix`` or ``file:///folder``; holds no credentials."""

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none."""
        ...

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Writes an object and returns its etag.

        Args:
            if_absent: only if there is no such object.
            if_match: only if the object's etag is this.

        Raises:
            Conflict: a condition did not hold; nothing was written.
            StoreError: the store refused.
        """
        ...

    def stat(self, key: str) -> Stat | None: ...

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """Bytes and the etag that belongs to them, or None."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is no error."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Writes a file of any size as one object."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Reads an object of any size into a file; a partial file is never left under `path`.

        Raises:
            StoreError: there is no such object.
        """
        ...
