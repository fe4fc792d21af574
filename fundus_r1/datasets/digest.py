"""Digests of data: over relative names and contents, wherever the folders lie.

The digest of the data folders is the part of the science by which a run knows its data, so two folders
have one digest exactly if they hold the same files. A dataset's manifest is the same over its own files
alone, so that a spec can pin it wherever it is unpacked. What operating systems leave behind (hidden
files) does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fundus_r1.datasets import ADAPTERS
from fundus_r1.datasets.folders import below, demand_folder, walk
from fundus_r1.errors import DataError
from fundus_r1.fingerprint import fingerprint

THREADS = 4


class Contents:
    """Names and contents of all files below data folders; each file is read once.

    Args:
        roots: the folders.

    Raises:
        DataError: a folder is missing or a file cannot be read.
    """

    def __init__(self, roots: Sequence[Path]):
        self._roots = [(root, file_contents(root)) for root in roots]

    def digest(self) -> str:
        """SHA-256 over all of it, 64 hexadecimal digits."""
        return digest_of(contents for _, contents in self._roots)

    def manifest(self, dataset: str) -> str | None:
        """SHA-256 over the files of one dataset, 64 hexadecimal digits; None if it is not there.

        The files are those below the folders in which the dataset is found, names relative to them; so it
        does not matter where they lie, nor what lies beside them.
        """
        found = [
            fingerprint(_below(contents, below(root, folder)))
            for root, contents in self._roots
            for folder in ADAPTERS[dataset].find(root)
        ]
        return fingerprint(sorted(found)) if found else None

    def of_file(self, file: Path) -> str:
        """SHA-256 of one file; of one outside the folders too, such as what a link leads to.

        Raises:
            DataError: it cannot be read.
        """
        for root, contents in self._roots:
            if file.is_relative_to(root) and (known := contents.get(below(root, file))):
                return known
        return _file_digest(file)


def data_digest(roots: Sequence[Path]) -> str:
    """SHA-256 over the names and contents of all files below the folders, 64 hexadecimal digits.

    Raises:
        DataError: a folder is missing or a file cannot be read.
    """
    return Contents(roots).digest()


def digest_of(contents: Iterable[Mapping[str, str]]) -> str:
    """SHA-256 over data of which the contents (path -> SHA-256) are known, 64 hexadecimal digits."""
    return fingerprint(sorted(fingerprint(dict(files)) for files in contents))


def file_contents(root: Path) -> dict[str, str]:
    """Path below a data folder -> SHA-256, of all its files.

    Raises:
        DataError: the folder is missing or a file cannot be read.
    """
    files = [folder / name for folder, _, names in walk(demand_folder(root)) for name in names]
    names = [below(root, file) for file in files]
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(names, pool.map(_file_digest, files), strict=True))


def _below(contents: dict[str, str], folder: str) -> dict[str, str]:
    """The entries below a folder, named from there."""
    prefix = "" if folder == "." else f"{folder}/"
    return {name.removeprefix(prefix): found for name, found in contents.items() if name.startswith(prefix)}


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
