"""Checkpoints are uploaded while the training goes on, one at a time, and none fails unheard."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from fundus_r1.errors import StoreError
from fundus_r1.storage.folder import FolderStore
from fundus_r1.training import checkpoints
from fundus_r1.training.uploads import Uploads

PREFIX = "sft/0123"


class Slow:
    """A store whose uploads wait until they may, or fail."""

    def __init__(self, store: FolderStore):
        self._store = store
        self.may = threading.Event()
        self.refuses = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def upload(self, key: str, path: Path) -> None:
        self.may.wait(10)
        if self.refuses:
            raise StoreError("No space is left")
        self._store.upload(key, path)


@pytest.fixture
def slow(store: FolderStore) -> Slow:
    return Slow(store)


def _trained(folder: Path, step: int, names: tuple[str, ...] = ("weights", "deep/state")) -> Path:
    made = folder / f"checkpoint-{step}"
    for name in names:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"{name} of {step}")
    return made


def _uploads(store: Any, folder: Path, **machines: int) -> Uploads:
    return Uploads(store, PREFIX, folder / "uploads", **machines)


def test_what_the_trainer_sweeps_meanwhile_is_uploaded_whole(slow: Slow, tmp_path: Path) -> None:
    uploads = _uploads(slow, tmp_path)
    folder = _trained(tmp_path, 4)
    uploads.prepare(4)
    uploads.begin(4, folder)
    shutil.rmtree(folder)
    uploads.check()
    slow.may.set()
    uploads.wait()
    assert checkpoints.latest(slow, PREFIX, tmp_path / "in") == 4  # type: ignore[arg-type]
    assert (tmp_path / "in" / "deep" / "state").read_text() == "deep/state of 4"
    assert list((tmp_path / "uploads").iterdir()) == [], "the copy is gone"


def test_the_next_waits_for_the_one_before(slow: Slow, tmp_path: Path) -> None:
    uploads = _uploads(slow, tmp_path)
    uploads.prepare(1)
    uploads.begin(1, _trained(tmp_path, 1))
    threading.Timer(0.1, slow.may.set).start()
    uploads.prepare(2)
    assert checkpoints.latest(slow, PREFIX, tmp_path / "in") == 1  # type: ignore[arg-type]


def test_a_failed_upload_stops_the_training(slow: Slow, tmp_path: Path) -> None:
    uploads = _uploads(slow, tmp_path)
    slow.refuses = True
    slow.may.set()
    uploads.prepare(1)
    uploads.begin(1, _trained(tmp_path, 1))
    with pytest.raises(StoreError, match="No space is left"):
        uploads.wait()
    assert checkpoints.latest(slow, PREFIX, tmp_path / "in") is None  # type: ignore[arg-type]


def test_each_machine_brings_what_it_has(store: FolderStore, tmp_path: Path) -> None:
    machines = [_uploads(store, tmp_path / str(node), node=node, nodes=2) for node in range(2)]
    folders = [_trained(tmp_path / str(node), 7, (f"shard-{node}",)) for node in range(2)]
    for uploads in machines:
        uploads.prepare(7)
    machines[0].begin(7, folders[0])
    machines[0].check()
    assert checkpoints.latest(store, PREFIX, tmp_path / "in") is None, "it waits for the other"
    machines[1].begin(7, folders[1])
    for uploads in machines:
        uploads.wait()
    assert checkpoints.latest(store, PREFIX, tmp_path / "in") == 7
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"shard-0", "shard-1"}


def test_a_machine_that_adds_nothing_is_told_of(store: FolderStore, tmp_path: Path) -> None:
    checkpoints.add(store, PREFIX, 3, _trained(tmp_path, 3), node=0)
    with pytest.raises(StoreError, match="Machine 1 of 2"):
        checkpoints.close(store, PREFIX, 3, nodes=2, patience_s=0)
