"""Walking data folders that strangers unpacked: sorted, links followed, machine litter left out.

Names are compared by `plain_name`, because archives unpack as ``A.%20Segmentation`` in one place
and as ``A. Segmentation`` in another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

from fundus_r1.errors import DataError

DEPTH = 6
"""Levels below a data folder in which a dataset is looked for."""

_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "__pycache__"})


def demand_folder(root: Path) -> Path:
    """The folder itself.

    Raises:
        DataError: it does not exist, or is no folder.
    """
    if not root.is_dir():
        raise DataError(
            f"A data folder {'is a file, not a folder' if root.exists() else 'does not exist'}",
            where=str(root),
            hint="correct placement.data, or unpack the datasets there",
        )
    return root


def plain_name(name: str) -> str:
    """A name without case, URL encoding, punctuation and surplus spaces."""
    return re.sub(r"[^a-z0-9]+", " ", unquote(name).casefold()).strip()


def is_litter(name: str) -> bool:
    """Hidden files and what operating systems leave behind."""
    return name.startswith(".") or name.casefold() in _LITTER


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the sub-folders and of the files of a folder, sorted, without litter."""
    try:
        with os.scandir(folder) as found:
            seen = [(entry.name, entry.is_dir()) for entry in found if not is_litter(entry.name)]
    except OSError as error:
        raise DataError(
            f"A data folder cannot be listed: {error.strerror}",
            where=str(folder),
            hint="make it readable for the user that runs this",
        ) from error
    return sorted(n for n, is_dir in seen if is_dir), sorted(n for n, is_dir in seen if not is_dir)


def child(folder: Path, name: str) -> Path | None:
    """The sub-folder of that plain name, or None."""
    wanted = plain_name(name)
    return next((folder / n for n in entries(folder)[0] if plain_name(n) == wanted), None)


def walk(root: Path, depth: int | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders at and below `root` with the names of their sub-folders and files.

    The caller may remove names from the list of sub-folders to keep the walk out of them. Links to
    folders are followed, each real folder once.
    """
    yield from _walk(root, depth, set())


def _walk(folder: Path, depth: int | None, seen: set[str]) -> Iterator[tuple[Path, list[str], list[str]]]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    folders, files = entries(folder)
    yield folder, folders, files
    if depth is None or depth > 0:
        for name in folders:
            yield from _walk(folder / name, None if depth is None else depth - 1, seen)


def search(root: Path, matches: Callable[[Path, list[str], list[str]], bool]) -> list[Path]:
    """Folders at or below `root` that match, sorted; what lies inside one is not searched.

    Benchmarks' images keep the folder names of the datasets they were taken from, so OmniMedVQA's
    ``Images`` and FunBench's ``datasets_preprocessed`` are never taken for training data.
    """
    found = []
    for folder, folders, files in walk(root, DEPTH):
        if matches(folder, folders, files):
            found.append(folder)
            folders.clear()
        else:
            asked = any(plain_name(name) == "qa information" for name in folders)
            benchmark = {"datasets preprocessed", *(("images",) if asked else ())}
            folders[:] = [name for name in folders if plain_name(name) not in benchmark]
    return sorted(found)


def below(folder: Path, file: Path) -> str:
    """A file's path below a folder, with ``/``."""
    return file.relative_to(folder).as_posix()
