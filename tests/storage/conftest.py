"""Each store that the contract is tested with."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.s3 import S3Store
from fundus_r1.storage.server import LocalS3


@pytest.fixture(scope="session")
def server(s3_server: LocalS3) -> LocalS3:
    return s3_server


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, of each kind."""
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    opened: S3Store = request.getfixturevalue("open_s3")(f"tests/{uuid.uuid4().hex}")
    return opened
