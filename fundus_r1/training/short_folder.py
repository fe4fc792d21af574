"""A folder with a short name, for the sockets of Ray and vLLM: theirs may have 107 bytes at most."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def short_folder() -> Iterator[Path]:
    """Makes a folder that is gone afterwards; those of processes that were killed are swept up."""
    place = Path("/tmp")
    for left in place.glob("fr1-*-*"):
        owner = left.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"fr1-{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
