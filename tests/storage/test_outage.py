"""A store that is away for a while: it is waited for, nothing is lost, and the wait has an end."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fundus_r1.errors import StoreError
from fundus_r1.storage import s3 as s3_module
from fundus_r1.storage.leases import Leases
from fundus_r1.storage.parts import PartSet
from fundus_r1.storage.protocol import Conflict
from fundus_r1.storage.s3 import Credentials, S3Store
from fundus_r1.storage.server import LocalS3

PREFIX = "findings/outage"


class Gate:
    """A way to a server on loopback that can be shut and opened.

    Shut, it breaks the connections that stand and refuses new ones, as a server that is gone does.
    """

    def __init__(self, target: int):
        self._target = target
        self.lost: set[int] = set()
        """Numbers of the answers, counted from now, that are lost although the server did its work."""
        self._standing: list[socket.socket] = []
        self._listener: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        assert self._listener is not None
        for one in (self._listener, *self._standing):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._listener, self._standing = None, []

    def shut_for(self, seconds: float) -> None:
        self.shut()
        threading.Timer(seconds, self.open).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._standing += [near, far]
                for one, other, answers in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._pump, args=(one, other, answers), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if answers and self._is_lost():
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_lost(self) -> bool:
        lost = 0 in self.lost
        self.lost = {number - 1 for number in self.lost if number}
        return lost


@pytest.fixture
def gate(server: LocalS3) -> Iterator[Gate]:
    standing = Gate(int(server.endpoint.rpartition(":")[2]))
    yield standing
    if standing._listener is not None:
        standing.shut()


@pytest.fixture
def store(server: LocalS3, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setattr(s3_module, "_PATIENCE_S", 20.0)
    monkeypatch.setattr(s3_module, "_BACKOFF_S", 0.05)
    monkeypatch.setattr(s3_module, "_LONGEST_BACKOFF_S", 0.2)
    keys = Credentials(server.access_key, server.secret_key)
    return S3Store(f"http://127.0.0.1:{gate.port}", "fundus-r1", keys, prefix=f"outage/{gate.port}")


def test_every_request_waits_for_a_store_that_comes_back(store: S3Store, gate: Gate, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(6 << 20))
    etag = store.put("there", b"1")
    acts: list[tuple[Callable[[], object], object]] = [
        (lambda: store.get("there"), b"1"),
        (lambda: list(store.list("")), ["there"]),
        (lambda: store.stat("there") is not None, True),
        (lambda: store.upload("file", file), None),
        (lambda: store.download("file", tmp_path / "back"), None),
        (lambda: store.put("new", b"2", if_absent=True) != "", True),
        (lambda: store.put("there", b"3", if_match=etag) != "", True),
        (lambda: store.delete("new"), None),
    ]
    for act, expected in acts:
        gate.shut_for(0.4)
        assert act() == expected
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert store.get("there") == b"3"


def test_a_store_that_stays_away_is_told_after_the_longest_wait(
    store: S3Store, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    store._patience_s = 0.6
    gate.shut()
    started = time.monotonic()
    with pytest.raises(StoreError, match="nothing answers at this address") as caught:
        store.put("k", b"")
    assert caught.value.transient
    assert 0.2 < time.monotonic() - started < 10


def test_a_condition_that_does_not_hold_is_no_outage(store: S3Store) -> None:
    store.put("k", b"")
    with pytest.raises(Conflict):
        store.put("k", b"", if_absent=True)


def test_workers_go_through_an_outage_and_each_part_is_there_once(store: S3Store, gate: Gate) -> None:
    """The store is away for longer than the leases last, while both workers are at work."""
    lease_s, calls = 1.0, []

    def slow(part: int) -> tuple[bytes, int]:
        calls.append(part)
        time.sleep(0.15)
        return f"part {part}\n".encode(), 1

    done: list[int] = []
    workers = [
        threading.Thread(target=lambda w=w: done.append(PartSet(store, PREFIX, 12, lease_s).work(w, slow)))
        for w in range(2)
    ]
    for worker in workers:
        worker.start()
    while len(calls) < 3:
        time.sleep(0.01)
    gate.shut_for(2 * lease_s)
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    parts = PartSet(store, PREFIX, 12, lease_s)
    assert sum(done) == 12 and parts.missing() == []
    assert sorted(set(calls)) == list(range(12))
    for part in range(12):
        assert parts.read(part) == f"part {part}\n".encode()


@pytest.mark.parametrize("answer", [0, 1, 2], ids=["data", "manifest", "lease"])
def test_a_worker_knows_its_own_work_again_if_the_answer_was_lost(
    store: S3Store, gate: Gate, answer: int
) -> None:
    """The request is sent again and meets what it had written itself."""

    def compute(part: int) -> tuple[bytes, int]:
        gate.lost = {answer}
        return f"part {part}\n".encode(), 1

    assert PartSet(store, f"{PREFIX}-{answer}", 3, lease_s=600).work(0, compute) == 3
    assert gate.lost == set()
    parts = PartSet(store, f"{PREFIX}-{answer}", 3, lease_s=600)
    assert [parts.read(part) for part in range(3)] == [f"part {part}\n".encode() for part in range(3)]


def test_a_holder_is_not_robbed_for_an_outage(store: S3Store, gate: Gate) -> None:
    """One who waited through it counts anew, so the holder has time for a sign of life."""
    mine, other = Leases(store, "one", 1.0), Leases(store, "two", 1.0)
    lease = mine.acquire("lease")
    assert lease is not None
    with lease:
        assert other.acquire("lease") is None
        gate.shut_for(1.6)
        for _ in range(5):
            assert other.acquire("lease") is None
            time.sleep(0.1)
        time.sleep(0.5)
        assert not lease.lost
