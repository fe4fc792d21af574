"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from fundus_r1.storage.folder import FolderStore

ROOT = Path(__file__).resolve().parents[1]

# How long an example takes says what else the machine does, not whether the code is right.
settings.register_profile("fundus-r1", deadline=None)
settings.load_profile("fundus-r1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real images and benchmark questions, which is no part of the project."""
    folder = Path(os.environ.get("FUNDUS_R1_REAL_IMAGES", ROOT.parent / "shared" / "real"))
    if not (folder / "labels.csv").is_file():
        pytest.skip(f"needs the folder of real images at {folder} (set FUNDUS_R1_REAL_IMAGES)")
    return folder


@pytest.fixture(scope="session")
def paper() -> str:
    """The paper's published text, which is no part of the project."""
    file = Path(os.environ.get("FUNDUS_R1_PAPER", ROOT.parent / "shared" / "facts" / "paper.txt"))
    if not file.is_file():
        pytest.skip(f"needs the paper's text at {file} (set FUNDUS_R1_PAPER)")
    return file.read_text(encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="renew the golden files")


@pytest.fixture
def golden_bytes(request: pytest.FixtureRequest) -> Callable[[Path, bytes], None]:
    """Compares bytes with a golden file; with ``--golden`` (`make golden`) writes it instead."""

    def compare(path: Path, found: bytes) -> None:
        if request.config.getoption("--golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found)
        assert path.is_file(), f"there is no golden file {path}: make golden"
        assert found.decode() == path.read_bytes().decode(), f"{path} differs; if it is meant: make golden"

    return compare


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")
