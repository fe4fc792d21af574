"""A folder of files in a store: there whole, with the checksum of each file, or not at all.

What makes a tree exist is its manifest, ``<prefix>/.manifest.json``, which is written last and names every
file with its size and SHA-256. While files are sent, ``.manifest.partial.json`` says which are there, so that
one who was killed goes on. Files that change take the manifest away first. Two who send the same tree
write the same bytes. How a tree comes to a machine again stands in `storage.fetch`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fundus_r1.errors import StoreError
from fundus_r1.fingerprint import fingerprint
from fundus_r1.storage.documents import read_document
from fundus_r1.storage.output import file_sha256
from fundus_r1.storage.protocol import Store

MANIFEST = ".manifest.json"
"""Hidden, so that it is no file of a dataset or a model, wherever the tree is copied to."""
_PARTIAL = ".manifest.partial.json"
THREADS = 8
"""Files on their way at once."""
_NOTE_EVERY_S = 10.0


def plain_path(name: str) -> str:
    """A file's path below a tree, itself.

    Raises:
        ValueError: it is absolute, leads out of the tree, is not in its shortest form, or that of a manifest.
    """
    path = PurePosixPath(name)
    shortest = bool(path.parts) and name == str(path) and "\\" not in name
    if not shortest or path.is_absolute() or ".." in path.parts or name in (MANIFEST, _PARTIAL):
        raise ValueError(f"{name!r} is no path below a folder")
    return name


class TreeFile(BaseModel):
    """What is known of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=0)
    """Bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """All files of a tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    files: dict[Annotated[str, AfterValidator(plain_path)], TreeFile]
    """Path below the tree -> what it holds."""

    @property
    def digests(self) -> dict[str, str]:
        """Path -> SHA-256."""
        return {name: file.sha256 for name, file in self.files.items()}

    @property
    def key(self) -> str:
        """Names the content, 64 hexadecimal digits."""
        return fingerprint(self.digests)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def manifest_of(store: Store, prefix: str) -> Manifest | None:
    """The manifest of a tree, or None if there is none or it is not whole.

    Raises:
        StoreError: it cannot be read.
    """
    return _read(store, key_of(prefix, MANIFEST))


def send_tree(
    store: Store,
    prefix: str,
    names: Iterable[str],
    fetched: Callable[[str], AbstractContextManager[Path]],
    *,
    fixed: bool = False,
    threads: int | None = None,
) -> Manifest:
    """Brings files into the store, then the manifest; goes on from what is there already.

    Args:
        store: the store.
        prefix: of the tree's keys; empty for the store's own root.
        names: paths below the tree.
        fetched: gives the local file of a path for as long as it is sent; called by several threads.
        fixed: what a path holds never changes, so what was sent before needs no fetching.
        threads: files on their way at once; None takes `THREADS`.

    Raises:
        StoreError: the store refused, or a path leads out of the tree.
    """
    ledger = _Ledger(store, prefix)

    def send(name: str) -> None:
        if fixed and name in ledger.known:
            ledger.note(name, ledger.known[name])
            return
        with fetched(name) as path:
            found = TreeFile(size=path.stat().st_size, sha256=file_sha256(path))
            if ledger.known.get(name) != found:
                ledger.forget(name)
                store.upload(key_of(prefix, name), path)
        ledger.note(name, found)

    wanted = sorted(set(names))
    for name in wanted:
        check_path(store, name)
    at_once(send, wanted, threads)
    return ledger.close(wanted)


class _Ledger:
    """Which files are there whole: what the manifest says, or what was noted before it is written."""

    def __init__(self, store: Store, prefix: str):
        self._store = store
        self._whole_key, self._partial_key = key_of(prefix, MANIFEST), key_of(prefix, _PARTIAL)
        self._whole = _read(store, self._whole_key)
        found = self._whole or _read(store, self._partial_key)
        self.known: Mapping[str, TreeFile] = dict(found.files) if found else {}
        """What is there before anything is sent."""
        self._there = dict(self.known)
        self._written = time.monotonic()
        self._lock = threading.Lock()

    def forget(self, name: str) -> None:
        """A file is about to be another: no manifest may say any more what it was."""
        with self._lock:
            known = self._there.pop(name, None) is not None
            if known or self._whole is not None:
                self._write()
            if self._whole is not None:
                self._store.delete(self._whole_key)
                self._whole = None

    def note(self, name: str, file: TreeFile) -> None:
        """A file is there."""
        with self._lock:
            self._there[name] = file
            if self._whole is None and time.monotonic() - self._written > _NOTE_EVERY_S:
                self._write()

    def _write(self) -> None:
        self._store.put(self._partial_key, Manifest(files=self._there).model_dump_json().encode())
        self._written = time.monotonic()

    def close(self, names: Iterable[str]) -> Manifest:
        """Makes the tree exist."""
        manifest = Manifest(files={name: self._there[name] for name in names})
        if manifest != self._whole:
            self._store.put(self._whole_key, manifest.model_dump_json().encode())
            self._store.delete(self._partial_key)
        return manifest


def at_once(act: Callable[[str], None], names: Iterable[str], threads: int | None = None) -> None:
    """Does something for each name, several at once; the first failure ends it."""
    with ThreadPoolExecutor(threads or THREADS) as pool:
        futures = [pool.submit(act, name) for name in names]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def key_of(prefix: str, name: str) -> str:
    """The key of a tree's file."""
    return f"{prefix}/{name}" if prefix else name


def check_path(store: Store, name: str) -> None:
    """Refuses a path that leads out of a tree.

    Raises:
        StoreError: it does.
    """
    try:
        plain_path(name)
    except ValueError as error:
        raise StoreError(str(error), where=store.uri, hint="rename that file") from error


def _read(store: Store, key: str) -> Manifest | None:
    return read_document(store, key, Manifest, name="A manifest", mend="mirror again")
