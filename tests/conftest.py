"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from kube_server import KubeServer

from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.s3 import Credentials, S3Store
from fundus_r1.storage.server import LocalS3

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


@pytest.fixture(scope="session")
def crds() -> Any:
    """The operators' definitions of the kinds that we make, a `Crds`; they are no part of the project."""
    from crd_schema import Crds

    folder = Path(os.environ.get("FUNDUS_R1_CRDS", ROOT.parent / "shared" / "crds"))
    if not folder.is_dir():
        pytest.skip(f"needs the operators' CustomResourceDefinitions at {folder} (set FUNDUS_R1_CRDS)")
    return Crds(folder)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="renew the golden files")


PIPELINE = ("tests/e2e/", "tests/stages/test_grpo")
"""Where the tests are that run the whole pipeline, which they share, or verl, of which only one runs at a
time. They are the last to end, so they are the first to begin."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(PIPELINE))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``, a module's tests run in one process, since they share what is dear to make."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "pipeline" if nodeid.startswith(PIPELINE) else nodeid.partition("::")[0]

    return ByModule(config, log)


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
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeServer]:
    """An API server, which KUBECONFIG names."""
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """One S3 server for all tests that ask for one."""
    with LocalS3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="session")
def open_s3(s3_server: LocalS3) -> Callable[[str], S3Store]:
    """Opens the server's bucket at a prefix."""

    def open_at(prefix: str) -> S3Store:
        keys = Credentials(s3_server.access_key, s3_server.secret_key)
        return S3Store(s3_server.endpoint, "fundus-r1", keys, prefix=prefix)

    return open_at
