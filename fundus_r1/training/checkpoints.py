"""Checkpoints of a training stage in the store: each is there whole, or not at all.

A checkpoint lies under ``<stage>/<fingerprint>/checkpoints/step-<N>/``: its files below
``files/``, and beside them ``manifest.json``, which names each file with its SHA-256. The
manifest is written last and deleted first, so whoever is killed in between leaves no checkpoint
that looks whole. What a try leaves behind is swept up by the next `prune`.

One process of each machine writes what lies there (`add`), and the first makes it a checkpoint
(`begin` before, `close` after; `save` is all three). What a checkpoint holds is the trainer's business;
it must be enough to go on as if nothing had happened.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fundus_r1.errors import StoreError
from fundus_r1.progress import emit
from fundus_r1.record import FileRef
from fundus_r1.storage.documents import read_document
from fundus_r1.storage.output import file_sha256
from fundus_r1.storage.protocol import Store

KEPT = 2
"""Checkpoints that `prune` leaves: the newest, and one to fall back on if it is damaged."""

PATIENCE_S = 3600.0
"""Seconds that one machine waits for the others to upload what they have of a checkpoint."""

_POLL_S = 0.5
_STEP = re.compile(r"/checkpoints/step-(\d+)/")


class Manifest(BaseModel):
    """What makes a checkpoint exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    files: tuple[FileRef, ...]
    """Keys are relative to ``files/``, sorted."""


def _folder(prefix: str, step: int) -> str:
    return f"{prefix}/checkpoints/step-{step:08d}"


def _manifest_key(prefix: str, step: int) -> str:
    return f"{_folder(prefix, step)}/manifest.json"


def _remove(store: Store, prefix: str, step: int) -> None:
    store.delete(_manifest_key(prefix, step))
    for key in list(store.list(f"{_folder(prefix, step)}/")):
        store.delete(key)


def _steps(store: Store, prefix: str) -> list[int]:
    """Steps of which anything is in the store, whole or not, newest first."""
    found = {int(match[1]) for key in store.list(f"{prefix}/checkpoints/") if (match := _STEP.search(key))}
    return sorted(found, reverse=True)


def _read(store: Store, prefix: str, step: int) -> Manifest | None:
    key = _manifest_key(prefix, step)
    return read_document(store, key, Manifest, name="The manifest of a checkpoint", mend="run again")


def _whole(store: Store, prefix: str) -> Iterator[Manifest]:
    for step in _steps(store, prefix):
        if (manifest := _read(store, prefix, step)) is not None:
            yield manifest


def _part_key(prefix: str, step: int, node: int) -> str:
    return f"{_folder(prefix, step)}/node-{node}.json"


def save(store: Store, prefix: str, step: int, folder: Path) -> None:
    """Uploads a folder as the checkpoint of a step; one of the same step is replaced.

    Args:
        store: where to.
        prefix: of the stage's output (`record.output_prefix`).
        step: optimiser steps done.
        folder: all files below it are taken.

    Raises:
        StoreError: the store refused.
    """
    begin(store, prefix, step)
    add(store, prefix, step, folder, node=0)
    close(store, prefix, step, nodes=1)


def begin(store: Store, prefix: str, step: int) -> None:
    """Makes room for the checkpoint of a step, before any machine adds to it."""
    _remove(store, prefix, step)


def add(store: Store, prefix: str, step: int, folder: Path, node: int) -> None:
    """Uploads what one machine of the group has of a checkpoint."""
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        store.upload(f"{_folder(prefix, step)}/files/{name}", path)
        files.append(FileRef(key=name, sha256=file_sha256(path), size=path.stat().st_size))
    part = Manifest(step=step, files=tuple(files))
    store.put(_part_key(prefix, step, node), part.model_dump_json(indent=1).encode())


def close(store: Store, prefix: str, step: int, nodes: int, patience_s: float = PATIENCE_S) -> None:
    """Makes the checkpoint exist, once all machines have added to it.

    Args:
        store: where it is.
        prefix: of the stage's output.
        step: optimiser steps done.
        nodes: machines in the group.
        patience_s: how long to wait for the others.

    Raises:
        StoreError: a machine did not add its part in time, or the store refused.
    """
    files: list[FileRef] = []
    deadline = time.monotonic() + patience_s
    for node in range(nodes):
        while (data := store.get(_part_key(prefix, step, node))) is None:
            if time.monotonic() > deadline:
                raise StoreError(
                    f"Machine {node} of {nodes} has not uploaded its part for {patience_s:g} s",
                    where=f"{store.uri}/{_folder(prefix, step)}",
                    transient=True,
                )
            time.sleep(_POLL_S)
        files += Manifest.model_validate_json(data).files
    manifest = Manifest(step=step, files=tuple(sorted(files, key=lambda file: file.key)))
    store.put(_manifest_key(prefix, step), manifest.model_dump_json(indent=1).encode())


def latest(store: Store, prefix: str, folder: Path) -> int | None:
    """Downloads the newest whole checkpoint.

    A checkpoint with a missing or damaged file is told of and passed over.

    Args:
        store: where from.
        prefix: of the stage's output.
        folder: holds exactly the checkpoint's files afterwards; what it held before is removed.

    Returns:
        The step, or None (and no folder) if there is no whole checkpoint.
    """
    for manifest in _whole(store, prefix):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        damaged = _download(store, f"{_folder(prefix, manifest.step)}/files", manifest, folder)
        if damaged is None:
            return manifest.step
        emit(prefix.partition("/")[0], "note", text=f"checkpoint {manifest.step} is passed over: {damaged}")
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _download(store: Store, place: str, manifest: Manifest, folder: Path) -> str | None:
    """Brings the files; says what is wrong with one, or None."""
    for file in manifest.files:
        if store.stat(f"{place}/{file.key}") is None:
            return f"{file.key} is missing"
        path = folder / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(f"{place}/{file.key}", path)
        if file_sha256(path) != file.sha256:
            return f"{file.key} is damaged"
    return None


def prune(store: Store, prefix: str, keep: int = KEPT) -> None:
    """Removes all but the newest `keep` whole checkpoints, and everything that is not whole."""
    kept = {manifest.step for _, manifest in zip(range(keep), _whole(store, prefix), strict=False)}
    for step in _steps(store, prefix):
        if step not in kept:
            _remove(store, prefix, step)


def delete_all(store: Store, prefix: str) -> None:
    """Removes all checkpoints; for when the training is over and its result is in the store."""
    prune(store, prefix, keep=0)
