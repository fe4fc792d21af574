"""The digest of data folders: over relative names and contents, wherever the folders lie.

It is the part of the science by which a run knows its data, so two folders have one digest exactly
if they hold the same files. What operating systems leave behind (hidden files) does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fundus_r1.datasets.folders import below, demand_folder, walk
from fundus_r1.errors import DataError
from fundus_r1.fingerprint import fingerprint

THREADS = 4


def data_digest(roots: Sequence[Path]) -> str:
    """SHA-256 over the names and contents of all files below the folders, 64 hexadecimal digits.

    Raises:
        DataError: a folder is missing or a file cannot be read.
    """
    return fingerprint(sorted(_folder_digest(root) for root in roots))


def _folder_digest(root: Path) -> str:
    files = [folder / name for folder, _, names in walk(demand_folder(root)) for name in names]
    names = [below(root, file) for file in files]
    with ThreadPoolExecutor(THREADS) as pool:
        contents = dict(zip(names, pool.map(_file_digest, files), strict=True))
    return fingerprint(contents)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"A data file cannot be read: {error.strerror}",
            where=str(path),
            hint="make it readable, or take it out of the data folder",
        ) from error
