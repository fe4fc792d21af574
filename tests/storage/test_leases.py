"""Leases: held, kept, given back, taken over, lost."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fundus_r1.errors import StoreError
from fundus_r1.storage import leases
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.leases import Lease, Leases
from fundus_r1.storage.protocol import Conflict, Store

KEY = "leases/00001"
LEASE_S = 0.8


@pytest.fixture
def taken() -> Iterator[list[Lease]]:
    """Leases to be given back in the end."""
    held: list[Lease] = []
    yield held
    for lease in held:
        lease.release()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def hang(store: Store, key: str, holder: leases.Holder) -> None:
    """Leaves a lease as a holder on another machine does that was killed."""
    store.put(key, holder.model_dump_json().encode())


def test_a_lease_has_one_holder_at_a_time(store: Store) -> None:
    first, second = Leases(store, "one", LEASE_S), Leases(store, "two", LEASE_S)
    lease = first.acquire(KEY)
    assert lease is not None
    assert second.acquire(KEY) is None
    assert first.acquire(KEY) is None
    lease.release()
    again = second.acquire(KEY)
    assert again is not None
    assert first.acquire(KEY) is None
    again.release()
    assert not again.lost


def test_a_live_holder_keeps_it_for_many_times_its_length(store: Store) -> None:
    lease = Leases(store, "one", LEASE_S).acquire(KEY)
    other = Leases(store, "two", LEASE_S)
    assert lease is not None
    end = time.monotonic() + 3 * LEASE_S
    with lease:
        while time.monotonic() < end:
            assert other.acquire(KEY) is None
            time.sleep(LEASE_S / 10)
        assert not lease.lost


def test_one_that_is_not_renewed_is_taken_over_after_its_length(store: Store, taken: list[Lease]) -> None:
    hang(store, KEY, leases.Holder(holder="worker 1 on elsewhere", token="t", machine="elsewhere", pid=1))
    other = Leases(store, "two", LEASE_S)
    started = time.monotonic()
    assert other.acquire(KEY) is None
    while (lease := other.acquire(KEY)) is None:
        time.sleep(0.02)
    taken.append(lease)
    assert LEASE_S <= time.monotonic() - started < LEASE_S + 1.5


def test_a_renewal_by_another_machine_starts_the_waiting_anew(store: Store) -> None:
    holder = leases.Holder(holder="worker 1 on elsewhere", token="t", machine="elsewhere", pid=1)
    other = Leases(store, "two", LEASE_S)
    end = time.monotonic() + 2.5 * LEASE_S
    beat = 0
    while time.monotonic() < end:
        beat += 1
        hang(store, KEY, holder.model_copy(update={"beat": beat}))
        assert other.acquire(KEY) is None
        time.sleep(LEASE_S / 3)


def test_the_holders_clock_is_not_asked(store: Store) -> None:
    # Nothing in the object is a time of the holder that could make it look old or young.
    lease = Leases(store, "one", 60).acquire(KEY)
    assert lease is not None
    found = leases.Holder.model_validate_json(store.get(KEY) or b"")
    assert set(found.model_dump()) == {"holder", "token", "beat", "machine", "pid", "born"}
    lease.release()


def test_a_holder_of_this_machine_that_was_killed_is_replaced_at_once(
    store: FolderStore, taken: list[Lease], tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    code = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from fundus_r1.storage.folder import FolderStore
        from fundus_r1.storage.leases import Leases
        lease = Leases(FolderStore(Path(sys.argv[1])), "child", 600).acquire(sys.argv[2])
        print(lease is not None, flush=True)
        time.sleep(60)
    """)
    child = subprocess.Popen([sys.executable, "-c", code, str(folder), KEY], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"True\n"
        other = Leases(FolderStore(folder), "two", 600)
        assert other.acquire(KEY) is None
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    lease = other.acquire(KEY)
    assert lease is not None
    taken.append(lease)


def test_a_pid_that_was_given_to_another_process_is_no_holder(store: Store, taken: list[Lease]) -> None:
    mine = leases._machine()
    hang(store, KEY, leases.Holder(holder="old", token="t", machine=mine, pid=os.getpid(), born=1.0))
    lease = Leases(store, "two", 600).acquire(KEY)
    assert lease is not None
    taken.append(lease)


def test_losing_a_lease_is_noticed_and_the_next_holder_is_left_alone(store: Store) -> None:
    lease = Leases(store, "slow", LEASE_S).acquire(KEY)
    assert lease is not None
    hang(store, KEY, leases.Holder(holder="next", token="other", machine="elsewhere"))
    before = store.get(KEY)
    assert wait_until(lambda: lease.lost)
    lease.release()
    assert store.get(KEY) == before


def test_a_lease_taken_over_just_before_its_release_is_noticed_too(store: Store) -> None:
    lease = Leases(store, "slow", 600).acquire(KEY)
    assert lease is not None
    hang(store, KEY, leases.Holder(holder="next", token="other", machine="elsewhere"))
    before = store.get(KEY)
    lease.release()
    assert lease.lost
    assert store.get(KEY) == before


def test_a_damaged_lease_is_told(store: Store) -> None:
    store.put(KEY, b"{")
    with pytest.raises(StoreError, match="lease cannot be read"):
        Leases(store, "one", LEASE_S).acquire(KEY)


class Unsteady(FolderStore):
    """A store that is away now and then, or whose answers are lost after the work was done."""

    away = False
    forgetful = False

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if self.away:
            raise StoreError("away", transient=True)
        etag = super().put(key, data, if_absent=if_absent, if_match=if_match)
        if self.forgetful and (if_absent or if_match is not None):
            raise Conflict(key)  # the client sent it again, and met its own object
        return etag


def test_a_lease_survives_a_short_absence_of_the_store(tmp_path: Path) -> None:
    unsteady = Unsteady(tmp_path)
    lease = Leases(unsteady, "one", 2.0).acquire(KEY)
    assert lease is not None
    unsteady.away = True
    time.sleep(0.7)
    unsteady.away = False
    before = unsteady.get(KEY)
    assert wait_until(lambda: unsteady.get(KEY) != before)
    assert not lease.lost
    lease.release()


def test_a_lease_is_lost_when_the_store_is_away_for_its_length(tmp_path: Path) -> None:
    unsteady = Unsteady(tmp_path)
    lease = Leases(unsteady, "one", LEASE_S).acquire(KEY)
    assert lease is not None
    unsteady.away = True
    assert wait_until(lambda: lease.lost)
    lease.release()


def test_a_client_that_meets_its_own_work_holds_the_lease(tmp_path: Path) -> None:
    unsteady = Unsteady(tmp_path)
    unsteady.forgetful = True
    lease = Leases(unsteady, "one", LEASE_S).acquire(KEY)
    assert lease is not None
    time.sleep(LEASE_S)
    assert not lease.lost
    unsteady.forgetful = False
    lease.release()
    assert not lease.lost
