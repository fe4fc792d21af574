"""What is special about a folder as a store; the common contract is in test_protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fundus_r1.errors import StoreError
from fundus_r1.storage.folder import FolderStore

# Adds one to each of ten counters, again wherever another process was quicker.
ADD = """
import sys
from pathlib import Path
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.protocol import Conflict
store = FolderStore(Path(sys.argv[1]))
sys.stdin.read()
for number in range(200):
    while True:
        data, etag = store.get_with_etag(f"counter/{number % 10}")
        try:
            store.put(f"counter/{number % 10}", str(int(data) + 1).encode(), if_match=etag)
            break
        except Conflict:
            pass
"""


def test_conditions_hold_among_processes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for number in range(10):
        store.put(f"counter/{number}", b"0")
    argv = [sys.executable, "-c", ADD, str(tmp_path)]
    adding = [subprocess.Popen(argv, stdin=subprocess.PIPE) for _ in range(3)]
    for process in adding:  # all begin when their input ends
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in adding] == [0, 0, 0]
    assert [store.get(f"counter/{number}") for number in range(10)] == [b"60"] * 10


def test_keys_are_files_and_the_stores_own_files_are_no_keys(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("index/abc/samples.jsonl", b"{}\n")
    assert (tmp_path / "index" / "abc" / "samples.jsonl").read_bytes() == b"{}\n"
    assert list(store.list("")) == ["index/abc/samples.jsonl"]
    with pytest.raises(StoreError, match="no key"):
        store.get(".fundus-r1/lock")


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    (tmp_path / "file").write_bytes(b"1")
    store.put("a", b"1")
    store.upload("b", tmp_path / "file")
    store.put("c", b"1")
    with pytest.raises(StoreError):
        store.put("c/below-an-object", b"1")
    assert [path.name for path in (tmp_path / "store" / ".fundus-r1").iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        FolderStore(tmp_path / "file" / "store")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_the_old_object_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    store.put("k", b"old")

    def to_full_disk(self: Path, data: bytes) -> int:
        with open("/dev/full", "wb") as file:
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", to_full_disk)
    with pytest.raises(StoreError, match="No space left"):
        store.put("k", b"new")
    monkeypatch.undo()
    assert store.get("k") == b"old"


def test_the_uri_is_that_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FolderStore(tmp_path / "a b").uri == f"file://{tmp_path}/a%20b"
    monkeypatch.chdir(tmp_path)
    assert FolderStore(Path("relative")).root == tmp_path / "relative"
