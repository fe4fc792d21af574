"""Files of a store in a folder of this machine: a whole tree (`storage.trees`), or what is merely listed.

A folder gets its name when it is whole and checked, so whoever sees it may read it; and one that was left
half made is gone on with.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from fundus_r1.errors import MachineError, StoreError
from fundus_r1.storage.output import file_sha256
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.trees import MANIFEST, Manifest, at_once, check_path, key_of


def fetch_tree(store: Store, prefix: str, manifest: Manifest, folder: Path) -> None:
    """Brings the files of a tree into a folder; goes on from those that are there and right.

    Raises:
        StoreError: a file is missing or is not what the manifest says.
        MachineError: there is not enough room.
    """

    def right(name: str, path: Path) -> bool:
        return path.stat().st_size == manifest.files[name].size and (
            file_sha256(path) == manifest.files[name].sha256
        )

    fetch_files(store, prefix, {name: file.size for name, file in manifest.files.items()}, folder, right)


def fetch_files(
    store: Store,
    prefix: str,
    sizes: Mapping[str, int],
    folder: Path,
    right: Callable[[str, Path], bool],
) -> None:
    """Brings files into a folder; goes on from those that are there and right.

    Args:
        store: where they lie.
        prefix: of their keys.
        sizes: path below the prefix -> bytes.
        folder: where they go.
        right: whether the file of a path holds what it should.

    Raises:
        StoreError: a file is missing or not right, or a path leads out of the folder.
        MachineError: there is not enough room.
    """
    for name in sizes:
        check_path(store, name)
    missing = [
        name for name in sorted(sizes) if not ((path := folder / name).is_file() and right(name, path))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    need, free = sum(sizes[name] for name in missing), shutil.disk_usage(folder).free
    if need > free:
        raise MachineError(
            f"There is not enough room for what is brought from the store: it takes {need / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free",
            where=str(folder),
            hint="free some disk, or name a larger one in placement.cache (a pod's is its `scratch`)",
        )

    def fetch(name: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(key_of(prefix, name), path)
        if not right(name, path):
            path.unlink()
            raise StoreError(
                "A file in the store is not what its manifest says",
                where=f"{store.uri}/{key_of(prefix, name)}",
                hint=f"delete {key_of(prefix, MANIFEST)} there and mirror it again (fundus-r1 mirror)",
            )

    at_once(fetch, missing)


def made_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that is there whole or not at all, made by one of several processes.

    Args:
        target: the folder; what is there already stays as it is.
        fill: makes the content of another folder, which then gets the name; what an earlier attempt
            left there is to be gone on from.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            partial = target.with_name(f".{target.name}.partial")
            fill(partial)
            partial.rename(target)
    return target
