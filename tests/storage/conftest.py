"""One S3 server for all tests of stores, and each store the contract is tested with."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.s3 import Credentials, S3Store
from fundus_r1.storage.server import LocalS3


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    with LocalS3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="session")
def open_s3(server: LocalS3) -> Callable[[str], S3Store]:
    """Opens the server's bucket at a prefix."""

    def open_at(prefix: str) -> S3Store:
        keys = Credentials(server.access_key, server.secret_key)
        return S3Store(server.endpoint, "fundus-r1", keys, prefix=prefix)

    return open_at


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, of each kind."""
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    opened: S3Store = request.getfixturevalue("open_s3")(f"tests/{uuid.uuid4().hex}")
    return opened
