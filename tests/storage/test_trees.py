"""A tree is there whole or not at all, however its sender ends; what is read is what was sent."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fundus_r1.errors import MachineError, StoreError
from fundus_r1.storage import trees
from fundus_r1.storage.fetch import fetch_tree, made_once
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.protocol import Store
from fundus_r1.storage.trees import (
    MANIFEST,
    Manifest,
    TreeFile,
    manifest_of,
    plain_path,
    send_tree,
)

FILES = {"a.txt": b"first", "deep/er/b.bin": b"x" * 70_000, "c d/ä.json": b""}


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def send(store: Store, folder: Path, prefix: str = "tree") -> Manifest:
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return send_tree(store, prefix, names, lambda name: nullcontext(folder / name))


def read(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Watched(FolderStore):
    """Notes what is uploaded, and fails at the object that is named."""

    def __init__(self, root: Path, fails: str | None = None):
        super().__init__(root)
        self.uploaded: list[str] = []
        self.fails = fails

    def upload(self, key: str, path: Path) -> None:
        if self.fails and key.endswith(self.fails):
            raise StoreError("no more", where=key)
        super().upload(key, path)
        self.uploaded.append(key)


def test_what_is_sent_is_read_again(store: Store, tmp_path: Path) -> None:
    assert manifest_of(store, "tree") is None
    sent = send(store, written(tmp_path / "data", FILES))
    assert manifest_of(store, "tree") == sent
    fetch_tree(store, "tree", sent, tmp_path / "back")
    assert read(tmp_path / "back") == FILES
    assert sent.size == sum(map(len, FILES.values()))


def test_a_tree_may_be_the_whole_of_a_store(store: Store, tmp_path: Path) -> None:
    sent = send(store, written(tmp_path / "data", FILES), prefix="")
    assert sorted(store.list("")) == sorted([*FILES, MANIFEST])
    assert manifest_of(store, "") == sent


def test_a_second_sending_brings_nothing(tmp_path: Path) -> None:
    store, folder = Watched(tmp_path / "store"), written(tmp_path / "data", FILES)
    first = send(store, folder)
    store.uploaded.clear()
    assert send(store, folder) == first
    assert store.uploaded == []
    assert not [key for key in store.list("tree/") if "partial" in key]


def test_one_that_failed_is_not_there_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "THREADS", 1)
    monkeypatch.setattr(trees, "_NOTE_EVERY_S", -1.0)
    store, folder = Watched(tmp_path / "store", fails="b.bin"), written(tmp_path / "data", FILES)
    with pytest.raises(StoreError, match="no more"):
        send(store, folder)
    assert manifest_of(store, "tree") is None
    before = set(store.uploaded)
    assert before
    store.fails = None
    store.uploaded.clear()
    whole = send(store, folder)
    assert set(whole.files) == set(FILES)
    assert set(store.uploaded) == {f"tree/{name}" for name in FILES} - before


def test_a_file_that_changed_takes_the_manifest_away_before_it_is_sent(tmp_path: Path) -> None:
    store, folder = Watched(tmp_path / "store"), written(tmp_path / "data", FILES)
    old = send(store, folder)
    store.fails = "a.txt"
    (folder / "a.txt").write_bytes(b"other")
    with pytest.raises(StoreError):
        send(store, folder)
    assert manifest_of(store, "tree") is None, "nobody may read half of the old and half of the new"
    store.fails = None
    store.uploaded.clear()
    new = send(store, folder)
    assert store.uploaded == ["tree/a.txt"]
    assert new.key != old.key


def test_a_file_that_changed_and_changed_back_is_sent_again(tmp_path: Path) -> None:
    store, folder = Watched(tmp_path / "store"), written(tmp_path / "data", {"a": b"one", "b": b"two"})
    send(store, folder)
    (folder / "a").write_bytes(b"new")
    (folder / "b").write_bytes(b"bad")
    store.fails = "/b"
    with pytest.raises(StoreError):
        send(store, folder)
    written(folder, {"a": b"one", "b": b"two"})
    store.fails = None
    fetch_tree(store, "tree", send(store, folder), tmp_path / "back")
    assert read(tmp_path / "back") == {"a": b"one", "b": b"two"}


def test_a_file_that_is_gone_leaves_the_tree(tmp_path: Path) -> None:
    store, folder = FolderStore(tmp_path / "store"), written(tmp_path / "data", FILES)
    send(store, folder)
    (folder / "a.txt").unlink()
    assert set(send(store, folder).files) == set(FILES) - {"a.txt"}
    assert manifest_of(store, "tree") == send(store, folder)


KILLED = """
    import sys, os, signal
    from contextlib import nullcontext
    from pathlib import Path
    from fundus_r1.storage import trees
    from fundus_r1.storage.folder import FolderStore

    class Doomed(FolderStore):
        left = int(sys.argv[3])
        def upload(self, key, path):
            super().upload(key, path)
            Doomed.left -= 1
            if Doomed.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        def put(self, key, data, **conditions):
            if key.endswith("/.manifest.json") and Doomed.left == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().put(key, data, **conditions)

    trees.THREADS, trees._NOTE_EVERY_S = 1, -1.0
    folder = Path(sys.argv[2])
    names = [p.name for p in folder.iterdir()]
    trees.send_tree(Doomed(Path(sys.argv[1])), "tree", names, lambda n: nullcontext(folder / n))
"""


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_sender_that_is_killed_leaves_no_tree_and_the_next_one_goes_on(after: int, tmp_path: Path) -> None:
    """Killed after each of three files, and (4) before the manifest."""
    folder = written(tmp_path / "data", {name: name.encode() for name in ("a", "b", "c")})
    arguments = [str(tmp_path / "store"), str(folder), str(after)]
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), *arguments], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    store = Watched(tmp_path / "store")
    assert manifest_of(store, "tree") is None
    whole = send(store, folder)
    # The last file that was sent may not have been noted.
    assert len(store.uploaded) <= 3 - min(after, 3) + 1
    fetch_tree(store, "tree", whole, tmp_path / "back")
    assert read(tmp_path / "back") == read(folder)


def test_what_never_changes_is_not_fetched_again(tmp_path: Path) -> None:
    store, folder = Watched(tmp_path / "store", fails="b"), written(tmp_path / "data", {"a": b"1", "b": b"2"})
    asked: list[str] = []

    def fetched(name: str) -> nullcontext[Path]:
        asked.append(name)
        return nullcontext(folder / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "THREADS", 1)
        patch.setattr(trees, "_NOTE_EVERY_S", -1.0)
        with pytest.raises(StoreError):
            send_tree(store, "tree", ["a", "b"], fetched, fixed=True)
    store.fails = None
    asked.clear()
    send_tree(store, "tree", ["a", "b"], fetched, fixed=True)
    assert asked == ["b"]


def test_two_senders_at_once_do_no_harm(store: Store, tmp_path: Path) -> None:
    folder = written(tmp_path / "data", {f"f{n}": bytes([n]) * 1000 for n in range(12)})
    failures: list[Exception] = []

    def act() -> None:
        try:
            send(store, folder)
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=act) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    whole = manifest_of(store, "tree")
    assert whole is not None
    fetch_tree(store, "tree", whole, tmp_path / "back")
    assert read(tmp_path / "back") == read(folder)


def test_a_damaged_file_is_refused_and_mended_by_what_the_message_says(store: Store, tmp_path: Path) -> None:
    folder = written(tmp_path / "data", FILES)
    sent = send(store, folder)
    store.put("tree/a.txt", b"fir5t")
    with pytest.raises(StoreError, match="not what its manifest says") as refused:
        fetch_tree(store, "tree", sent, tmp_path / "back")
    assert "delete tree/.manifest.json" in refused.value.hint
    store.delete("tree/.manifest.json")
    fetch_tree(store, "tree", send(store, folder), tmp_path / "back")
    assert read(tmp_path / "back") == FILES


def test_a_fetch_goes_on_and_trusts_no_file_that_is_wrong(tmp_path: Path) -> None:
    store, folder = FolderStore(tmp_path / "store"), written(tmp_path / "data", FILES)
    sent = send(store, folder)
    (tmp_path / "back" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "back" / "deep" / "er" / "b.bin").write_bytes(b"y" * 70_000)
    (tmp_path / "back" / "a.txt").write_bytes(b"first")
    store.delete("tree/a.txt")
    fetch_tree(store, "tree", sent, tmp_path / "back")
    assert read(tmp_path / "back") == FILES


def test_too_little_room_is_told_before_anything_is_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = FolderStore(tmp_path / "store"), written(tmp_path / "data", FILES)
    sent = send(store, folder)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(MachineError, match="not enough room"):
        fetch_tree(store, "tree", sent, tmp_path / "back")
    assert read(tmp_path / "back") == {}


def test_a_folder_is_made_by_one_of_two_and_a_killed_making_goes_on(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "made", killed)
    assert not (tmp_path / "made").exists()
    fills: list[Path] = []

    def fill(folder: Path) -> None:
        fills.append(folder)
        assert (folder / "half").exists()
        (folder / "rest").touch()

    threads = [threading.Thread(target=made_once, args=(tmp_path / "made", fill)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fills) == 1
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["half", "rest"]


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../up", "a/../b", "a//b", "./a", "a/", "back\\slash", ".", "..", MANIFEST]
)
def test_a_path_out_of_the_tree_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no path"):
        plain_path(name)
    with pytest.raises(ValidationError):
        Manifest.model_validate({"files": {name: {"size": 1, "sha256": "0" * 64}}})
    with pytest.raises(StoreError, match="no path"):
        send_tree(FolderStore(tmp_path), "t", [name], lambda n: nullcontext(tmp_path))


@pytest.mark.parametrize("text", [b"", b"[]", b'{"files": {}, "schema_version": 2}', b'{"files": {"a": 1}}'])
def test_a_manifest_that_cannot_be_read_is_told(text: bytes, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("tree/.manifest.json", text)
    with pytest.raises(StoreError, match="cannot be read"):
        manifest_of(store, "tree")


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0\r\n"), min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..") and len(part.encode()) < 100
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(PATHS, st.binary(max_size=40), max_size=6))
@settings(max_examples=60)
def test_any_files_come_back_as_they_were(files: dict[str, bytes]) -> None:
    dirs = {"/".join(name.split("/")[:n]) for name in files for n in range(1, name.count("/") + 1)}
    files = {name: data for name, data in files.items() if name not in dirs and name[0] != "."}
    with tempfile.TemporaryDirectory() as place:
        folder = written(Path(place, "data"), files)
        folder.mkdir(exist_ok=True)
        store = FolderStore(Path(place, "store"))
        sent = send(store, folder)
        assert set(sent.files) == set(files)
        assert Manifest.model_validate_json(sent.model_dump_json()) == sent
        fetch_tree(store, "tree", sent, Path(place, "back"))
        assert read(Path(place, "back")) == files


@given(
    st.dictionaries(PATHS, st.binary(max_size=9).map(lambda b: b.hex().zfill(64)), max_size=6), st.randoms()
)
def test_the_key_of_a_manifest_knows_names_and_contents_and_no_order(
    files: dict[str, str], rng: object
) -> None:
    rows = [(name, TreeFile(size=1, sha256=digest)) for name, digest in files.items()]
    one = Manifest(files=dict(rows))
    rng.shuffle(rows)  # type: ignore[attr-defined]
    assert Manifest(files=dict(rows)).key == one.key
    if files:
        name = next(iter(files))
        other = TreeFile(size=1, sha256="f" * 64)
        assert Manifest(files={**one.files, name: other}).key != one.key
        assert Manifest(files={k: v for k, v in one.files.items() if k != name}).key != one.key
