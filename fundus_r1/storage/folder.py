"""A folder as a store: for a single machine, and for tests of everything that is not S3.

A write goes to a temporary file that is then linked or renamed into place, so a reader never
sees half an object. Conditions hold among processes of one machine, through one lock file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fundus_r1.errors import StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.storage.protocol import Conflict, Stat

_HIDDEN = ".fundus-r1"


class FolderStore:
    """Objects are files below `root`; the etag is the content's SHA-256."""

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        self.uri = self.root.as_uri()
        self._hidden = self.root / _HIDDEN
        try:
            self._hidden.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store's folder cannot be made: {error.strerror}",
                where=str(self.root),
                hint="choose a folder that can be written",
            ) from error

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") for part in parts) or parts[0] == _HIDDEN:
            raise StoreError(f"{key!r} is no key of a store", where=self.uri)
        return self.root.joinpath(*parts)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._hidden / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        data = self.get(key)
        return None if data is None else (data, sha256(data))

    def stat(self, key: str) -> Stat | None:
        found = self.get_with_etag(key)
        return None if found is None else Stat(size=len(found[0]), etag=found[1])

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        path = self._path(key)
        with self._lock():
            if if_absent and path.exists():
                raise Conflict(key)
            if if_match is not None:
                stat = self.stat(key)
                if stat is None or stat.etag != if_match:
                    raise Conflict(key)
            with self._replacing(path) as temporary:
                temporary.write_bytes(data)
        return sha256(data)

    @contextlib.contextmanager
    def _replacing(self, path: Path) -> Iterator[Path]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._hidden)
            os.close(handle)
            temporary = Path(name)
            try:
                yield temporary
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store's folder cannot be written: {error.strerror}",
                where=str(path),
                hint="free some disk, or choose another folder",
            ) from error

    def list(self, prefix: str) -> Iterator[str]:
        below = self.root.joinpath(*prefix.split("/")[:-1])
        keys = (
            path.relative_to(self.root).as_posix()
            for path in below.rglob("*")
            if path.is_file() and self._hidden not in path.parents
        )
        yield from sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def upload(self, key: str, path: Path) -> None:
        with self._replacing(self._path(key)) as temporary:
            shutil.copyfile(path, temporary)

    def download(self, key: str, path: Path) -> None:
        source = self._path(key)
        if not source.is_file():
            raise StoreError("There is no such object in the store", where=f"{self.uri}/{key}")
        partial = path.with_name(f".{path.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(path)
