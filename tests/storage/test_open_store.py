"""A placement becomes a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_r1.errors import SpecError, StoreError
from fundus_r1.spec.placement import StorePlace
from fundus_r1.storage import open_store
from fundus_r1.storage.s3 import ACCESS_KEY_ENV, SECRET_KEY_ENV
from fundus_r1.storage.server import LocalS3


def test_a_folder_with_its_prefix(tmp_path: Path) -> None:
    store = open_store(StorePlace(kind="folder", path=str(tmp_path), prefix="team/one"))
    store.put("k", b"1")
    assert (tmp_path / "team" / "one" / "k").read_bytes() == b"1"


def test_s3_with_credentials_from_the_environment(server: LocalS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCESS_KEY_ENV, server.access_key)
    monkeypatch.setenv(SECRET_KEY_ENV, server.secret_key)
    place = StorePlace(endpoint=server.endpoint, bucket="opened", prefix="team")
    open_store(place).put("k", b"1")
    assert open_store(place).get("k") == b"1"
    assert open_store(place).uri == "s3://opened/team"
    monkeypatch.delenv(SECRET_KEY_ENV)
    with pytest.raises(StoreError, match="no credentials"):
        open_store(place)


def test_a_place_that_is_none_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        open_store(StorePlace(kind="folder"))
    assert caught.value.where == "placement.store.path"
    with pytest.raises(SpecError) as caught:
        open_store(StorePlace(kind="s3"))
    assert caught.value.where == "placement.store.endpoint"
