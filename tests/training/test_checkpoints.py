"""A checkpoint is there whole or not at all, wherever the process that writes it is killed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.errors import StoreError
from fundus_r1.storage.folder import FolderStore
from fundus_r1.training import checkpoints

PREFIX = "sft/0123"


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


class Mortal:
    """A store whose user is killed before its n-th write."""

    def __init__(self, store: FolderStore, writes: int):
        self._store, self._left = store, writes

    def __getattr__(self, name: str) -> Any:
        if name in ("put", "upload", "delete"):
            if self._left == 0:
                raise Killed
            self._left -= 1
        return getattr(self._store, name)


def _write(folder: Path, step: int) -> Path:
    """A trainer's folder: content tells the step, and the set of files differs between steps."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(b"w%d" % step)
    (folder / "deep" / "state").write_bytes(b"s%d" % step)
    (folder / f"only-{step}").write_bytes(b"")
    return folder


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _expected(step: int) -> dict[str, bytes]:
    return {"weights": b"w%d" % step, "deep/state": b"s%d" % step, f"only-{step}": b""}


def test_the_newest_is_found_as_it_was_saved(store: FolderStore, tmp_path: Path) -> None:
    for step in (9, 10, 2):
        checkpoints.save(store, PREFIX, step, _write(tmp_path / "out", step))
    _write(tmp_path / "in", 77)
    assert checkpoints.latest(store, PREFIX, tmp_path / "in") == 10
    assert _content(tmp_path / "in") == _expected(10)
    assert checkpoints.latest(store, "sft/other", tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_pruning_keeps_the_newest_and_sweeps_up_what_is_not_whole(store: FolderStore, tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoints.save(store, PREFIX, step, _write(tmp_path / "out", step))
    with pytest.raises(Killed):
        checkpoints.save(Mortal(store, 2), PREFIX, 20, _write(tmp_path / "out", 20))  # type: ignore[arg-type]
    assert any("step-00000020" in key for key in store.list(PREFIX))
    checkpoints.prune(store, PREFIX, keep=1)
    assert {key.split("/")[3] for key in store.list(PREFIX)} == {"step-00000015"}
    checkpoints.delete_all(store, PREFIX)
    assert list(store.list("")) == []


def test_saving_a_step_again_replaces_it(store: FolderStore, tmp_path: Path) -> None:
    folder = _write(tmp_path / "out", 3)
    (folder / "stale").write_bytes(b"x")
    checkpoints.save(store, PREFIX, 3, folder)
    checkpoints.save(store, PREFIX, 3, _write(tmp_path / "out", 3))
    assert not any("stale" in key for key in store.list(PREFIX))
    assert checkpoints.latest(store, PREFIX, tmp_path / "in") == 3
    assert _content(tmp_path / "in") == _expected(3)


@pytest.mark.parametrize("harm", ["changed", "deleted"])
def test_a_damaged_checkpoint_is_passed_over_and_told_of(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    for step in (1, 2):
        checkpoints.save(store, PREFIX, step, _write(tmp_path / "out", step))
    key = next(key for key in store.list(PREFIX) if "00000002" in key and key.endswith("weights"))
    store.delete(key) if harm == "deleted" else store.put(key, b"w7")
    assert checkpoints.latest(store, PREFIX, tmp_path / "in") == 1
    assert _content(tmp_path / "in") == _expected(1)
    assert "checkpoint 2 is passed over: weights is" in capsys.readouterr().err


def test_a_manifest_of_another_version_is_an_error_and_not_lost_work(
    store: FolderStore, tmp_path: Path
) -> None:
    checkpoints.save(store, PREFIX, 1, _write(tmp_path / "out", 1))
    store.put(f"{PREFIX}/checkpoints/step-00000001/manifest.json", b'{"version": 9}')
    with pytest.raises(StoreError, match="manifest"):
        checkpoints.latest(store, PREFIX, tmp_path / "in")


@settings(max_examples=25, deadline=None)
@given(lives=st.lists(st.integers(0, 16), max_size=3))
def test_no_kill_at_any_write_loses_or_tears_a_checkpoint(lives: list[int]) -> None:
    """A trainer that saves and prunes is killed again and again, each time after so many writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = FolderStore(folder / "store")
        done = 0
        for writes in [*lives, 1000]:
            mortal: Any = Mortal(store, writes)
            found = checkpoints.latest(store, PREFIX, folder / "in") or 0
            assert found >= done, "a checkpoint whose saving had ended was lost"
            if found:
                assert _content(folder / "in") == _expected(found)
            try:
                for step in range(found + 2, 9, 2):
                    checkpoints.save(mortal, PREFIX, step, _write(folder / "out", step))
                    done = step
                    checkpoints.prune(mortal, PREFIX)
            except Killed:
                continue
        assert checkpoints.latest(store, PREFIX, folder / "in") == 8
        checkpoints.prune(store, PREFIX)
        assert len({key.split("/")[3] for key in store.list(PREFIX)}) == checkpoints.KEPT
