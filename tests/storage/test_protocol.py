"""The contract of a store, kept by all of them."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fundus_r1.errors import StoreError
from fundus_r1.storage.protocol import Conflict, Store

UNUSUAL = [
    "a b/c d",
    "zwölf/Ärzte/眼底.png",
    "x&y=z?q#f",
    "100%/+plus,comma;semi",
    "quote'\"<tag>",
    "~tilde/(paren)/[br]/{br}/@!$*",
    "very/" + "deep/" * 20 + "down",
    "n" * 200,
]


def test_what_is_put_is_read(store: Store) -> None:
    store.put("a/b.json", b"one")
    assert store.get("a/b.json") == b"one"
    store.put("a/b.json", b"two")
    assert store.get("a/b.json") == b"two"


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("empty", b"")
    assert store.get("empty") == b""
    stat = store.stat("empty")
    assert stat is not None and stat.size == 0


def test_what_is_not_there_is_none(store: Store) -> None:
    store.put("folder/file", b"x")
    for key in ("nothing", "folder", "folder/other", "fold"):
        assert store.get(key) is None
        assert store.get_with_etag(key) is None
        assert store.stat(key) is None


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 9 << 20])
def test_put_stat_and_get_agree_on_the_etag(store: Store, size: int) -> None:
    data = random.Random(size).randbytes(size)
    etag = store.put("k", data)
    stat = store.stat("k")
    assert stat is not None
    assert (stat.size, stat.etag) == (size, etag)
    assert store.get_with_etag("k") == (data, etag)
    assert store.put("k", data, if_match=etag)


def test_the_etag_changes_with_the_content(store: Store) -> None:
    assert store.put("k", b"one") != store.put("k", b"two")


@pytest.mark.parametrize("key", UNUSUAL)
def test_unusual_keys(store: Store, key: str) -> None:
    etag = store.put(key, key.encode(), if_absent=True)
    assert store.get_with_etag(key) == (key.encode(), etag)
    with pytest.raises(Conflict):
        store.put(key, b"other", if_absent=True)
    assert list(store.list(key)) == [key]
    store.put(key, b"other", if_match=etag)
    store.delete(key)
    assert store.get(key) is None


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/."])
def test_what_is_no_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="no key"):
        store.put(key, b"")


def test_if_absent_writes_only_once(store: Store) -> None:
    store.put("k", b"first", if_absent=True)
    with pytest.raises(Conflict):
        store.put("k", b"second", if_absent=True)
    assert store.get("k") == b"first"
    store.delete("k")
    store.put("k", b"third", if_absent=True)


def test_if_match_writes_only_over_what_was_seen(store: Store) -> None:
    seen = store.put("k", b"1")
    now = store.put("k", b"2", if_match=seen)
    with pytest.raises(Conflict):
        store.put("k", b"3", if_match=seen)
    assert store.get("k") == b"2"
    store.delete("k")
    with pytest.raises(Conflict):
        store.put("k", b"3", if_match=now)
    assert store.get("k") is None


def test_of_racing_writers_if_absent_lets_one_win(store: Store) -> None:
    def attempt(number: int) -> int | None:
        try:
            store.put("race/key", str(number).encode(), if_absent=True)
        except Conflict:
            return None
        return number

    with ThreadPoolExecutor(32) as pool:
        winners = [number for number in pool.map(attempt, range(32)) if number is not None]
    assert len(winners) == 1
    assert store.get("race/key") == str(winners[0]).encode()


def test_of_racing_writers_if_match_loses_no_update(store: Store) -> None:
    store.put("counter", b"0")

    def add_ten(_: int) -> None:
        for _ in range(10):
            while True:
                found = store.get_with_etag("counter")
                assert found is not None
                try:
                    store.put("counter", str(int(found[0]) + 1).encode(), if_match=found[1])
                    break
                except Conflict:
                    continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_ten, range(4)))
    assert store.get("counter") == b"40"


def test_readers_never_see_half_an_object(store: Store) -> None:
    versions = [bytes([i]) * (300_000 + i) for i in range(6)]
    store.put("k", versions[0])
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(lambda: [store.put("k", data) for data in versions * 5])
        while not writing.done():
            assert store.get("k") in versions
        writing.result()


def test_list_is_sorted_and_keeps_to_the_prefix(store: Store) -> None:
    keys = ["a/b", "a-b", "a/c/d", "ab", "b", "a.b", "A", "a/é", "a/b c"]
    for key in keys:
        store.put(key, b"")
    assert list(store.list("")) == sorted(keys)
    assert list(store.list("a/")) == sorted(key for key in keys if key.startswith("a/"))
    assert list(store.list("a")) == sorted(key for key in keys if key.startswith("a"))
    assert list(store.list("a/c/")) == ["a/c/d"]
    assert list(store.list("nothing/")) == []


def test_list_goes_beyond_a_page(store: Store) -> None:
    keys = [f"many/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    store.put("many-more", b"")
    assert list(store.list("many/")) == keys
    assert list(store.list("many")) == ["many-more", *keys]


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.delete("never/was")
    store.put("k", b"")
    store.delete("k")
    store.delete("k")
    assert list(store.list("")) == []


@pytest.mark.parametrize("size", [0, 20 << 20])
def test_files_travel_whole(store: Store, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_bytes(os.urandom(size))
    target.parent.mkdir()
    store.upload("model/weights.bin", source)
    stat = store.stat("model/weights.bin")
    assert stat is not None and stat.size == size
    target.write_bytes(b"of an earlier run")
    store.download("model/weights.bin", target)
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_downloading_what_is_not_there_leaves_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such object"):
        store.download("nothing", tmp_path / "target")
    assert not list(tmp_path.glob("*target*"))


def test_a_uri_holds_no_credentials(store: Store) -> None:
    assert store.uri.split("://")[0] in ("s3", "file")
    assert "@" not in store.uri
