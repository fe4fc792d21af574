"""Parts are there whole and once, whoever computes them and whoever dies."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_r1.errors import StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.rows import Leak, Quarantined
from fundus_r1.storage import leases as leases_module
from fundus_r1.storage import parts as parts_module
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.lines import json_lines
from fundus_r1.storage.output import OutputWriter, StageOutput
from fundus_r1.storage.parts import PartSet
from fundus_r1.storage.protocol import Conflict, Stat, Store

PREFIX = "findings/0123abc"


def compute(part: int) -> tuple[bytes, int]:
    return f"rows of part {part}\n".encode() * (part + 1), part + 1


def assert_undisturbed(parts: PartSet) -> None:
    assert parts.missing() == []
    for part, ref in parts.refs().items():
        data, rows = compute(part)
        assert parts.read(part) == data
        assert (ref.sha256, ref.size, ref.rows) == (sha256(data), len(data), rows)


def test_one_worker_does_all(store: Store) -> None:
    parts = PartSet(store, PREFIX, 5, lease_s=30)
    assert parts.missing() == [0, 1, 2, 3, 4]
    assert parts.work(0, compute) == 5
    assert_undisturbed(parts)
    assert list(store.list(f"{PREFIX}/leases/")) == []


def test_nothing_to_do_is_done_at_once(store: Store) -> None:
    def never(part: int) -> tuple[bytes, int]:
        raise AssertionError(part)

    assert PartSet(store, PREFIX, 0, lease_s=30).work(0, never) == 0
    assert PartSet(store, PREFIX, 0, lease_s=30).refs() == {}


def test_what_is_there_is_not_computed_again(store: Store) -> None:
    calls: list[int] = []

    def counting(part: int) -> tuple[bytes, int]:
        calls.append(part)
        if len(calls) == 4:
            raise RuntimeError("the GPU fell off")
        return compute(part)

    with pytest.raises(RuntimeError, match="GPU"):
        PartSet(store, PREFIX, 6, lease_s=600).work(0, counting)
    assert PartSet(store, PREFIX, 6, lease_s=600).missing() == [3, 4, 5]
    # The failed worker gave its lease back, so that the next one need not wait for it.
    assert PartSet(store, PREFIX, 6, lease_s=600).work(0, counting) == 3
    assert calls == [0, 1, 2, 3, 3, 4, 5]
    assert_undisturbed(PartSet(store, PREFIX, 6, lease_s=600))


def test_workers_start_at_different_places(store: Store) -> None:
    firsts = set()
    for worker in range(8):
        seen: list[int] = []

        def stop(part: int, seen: list[int] = seen) -> tuple[bytes, int]:
            seen.append(part)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            PartSet(store, PREFIX, 100, lease_s=600).work(worker, stop)
        firsts.add(seen[0])
    assert len(firsts) == 8


def test_many_workers_do_each_part_once(store: Store) -> None:
    calls: Counter[int] = Counter()

    def slow(part: int) -> tuple[bytes, int]:
        calls[part] += 1
        time.sleep(0.02)
        return compute(part)

    with ThreadPoolExecutor(4) as pool:
        done = list(
            pool.map(lambda worker: PartSet(store, PREFIX, 12, lease_s=2).work(worker, slow), range(4))
        )
    assert sum(done) == 12
    assert calls == Counter(range(12))
    assert_undisturbed(PartSet(store, PREFIX, 12, lease_s=2))


def test_lanes_compute_several_parts_at_once_and_each_once(store: Store) -> None:
    together = threading.Barrier(3, timeout=20)
    calls: Counter[int] = Counter()

    def meeting(part: int) -> tuple[bytes, int]:
        calls[part] += 1
        together.wait()
        return compute(part)

    assert PartSet(store, PREFIX, 6, lease_s=30).work(0, meeting, lanes=3) == 6
    assert calls == Counter(range(6))
    assert_undisturbed(PartSet(store, PREFIX, 6, lease_s=30))
    assert list(store.list(f"{PREFIX}/leases/")) == []


def test_a_lane_that_fails_stops_the_others_after_their_parts(store: Store) -> None:
    begun = threading.Barrier(2, timeout=20)
    calls: list[int] = []

    def failing(part: int) -> tuple[bytes, int]:
        calls.append(part)
        if part < 2:
            begun.wait()
        if part == 0:
            raise RuntimeError("no more credit")
        time.sleep(0.3)
        return compute(part)

    with pytest.raises(RuntimeError, match="credit"):
        PartSet(store, PREFIX, 20, lease_s=600).work(0, failing, lanes=2)
    assert sorted(calls)[:2] == [0, 1] and len(calls) <= 3
    # What the other lane had begun was paid for, so it was kept.
    assert 1 not in PartSet(store, PREFIX, 20, lease_s=600).missing()
    assert 0 in PartSet(store, PREFIX, 20, lease_s=600).missing()


class Counted(FolderStore):
    """Counts requests by kind."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.asked: Counter[str] = Counter()

    def get(self, key: str) -> bytes | None:
        self.asked["get"] += 1
        return super().get(key)

    def put(self, key: str, data: bytes, **conditions: object) -> str:
        self.asked["put"] += 1
        return super().put(key, data, **conditions)  # type: ignore[arg-type]

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        self.asked["list"] += 1
        return super().list(prefix)


@pytest.mark.parametrize("count", [20, 80])
def test_what_is_asked_of_the_store_grows_with_the_parts_and_no_faster(tmp_path: Path, count: int) -> None:
    store = Counted(tmp_path)
    PartSet(store, PREFIX, count, lease_s=600).work(0, compute)
    assert store.asked["list"] == 2
    assert store.asked["get"] <= 4 * count and store.asked["put"] == 4 * count


def test_a_worker_with_nothing_to_do_lists_and_asks_of_none(tmp_path: Path) -> None:
    PartSet(FolderStore(tmp_path), PREFIX, 50, lease_s=600).work(0, compute)
    store = Counted(tmp_path)
    assert PartSet(store, PREFIX, 50, lease_s=600).work(1, compute) == 0
    assert store.asked == {"list": 1}


def test_rows_of_a_part_are_parsed_and_what_is_none_is_told(store: Store) -> None:
    rows = [
        Leak(sample_id=f"a/{n}", patient="p", kind="content", benchmark="b", benchmark_image="i")
        for n in range(3)
    ]
    parts = PartSet(store, PREFIX, 1, 30)
    parts.work(0, lambda _: (json_lines(rows), 3))
    assert list(parts.rows(0, Leak)) == rows
    with pytest.raises(StoreError, match="Line 1 is no Quarantined"):
        list(parts.rows(0, Quarantined))


WORKER = textwrap.dedent("""
    import sys, time
    from fundus_r1.spec.placement import StorePlace
    from fundus_r1.storage import open_store
    from fundus_r1.storage.parts import PartSet

    def compute(part):
        if part == 2:
            print("computing 2", flush=True)
            time.sleep(600)
        return f"rows of part {part}\\n".encode() * (part + 1), part + 1

    store = open_store(StorePlace.model_validate_json(sys.argv[1]))
    PartSet(store, sys.argv[2], 5, lease_s=float(sys.argv[3])).work(0, compute)
""")


@pytest.mark.parametrize(("elsewhere", "lease_s"), [(False, 600.0), (True, 1.2)])
def test_a_part_whose_worker_is_killed_is_computed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool, lease_s: float
) -> None:
    place = f'{{"kind": "folder", "path": "{tmp_path}"}}'
    child = subprocess.Popen(
        [sys.executable, "-c", WORKER, place, PREFIX, str(lease_s)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"computing 2\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    if elsewhere:  # where nobody can look whether the process lives
        monkeypatch.setattr(leases_module, "_machine", lambda: "another machine")
    parts = PartSet(FolderStore(tmp_path), PREFIX, 5, lease_s)
    assert parts.missing() == [2, 3, 4]
    started = time.monotonic()
    assert parts.work(1, compute) == 3
    assert time.monotonic() - started < 5
    assert_undisturbed(parts)


def test_a_worker_waits_for_a_part_that_another_is_at(store: Store) -> None:
    computing, go_on = threading.Event(), threading.Event()

    def held(part: int) -> tuple[bytes, int]:
        computing.set()
        assert go_on.wait(20)
        return compute(part)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(PartSet(store, PREFIX, 1, lease_s=1.0).work, 0, held)
        assert computing.wait(10)
        second = pool.submit(PartSet(store, PREFIX, 1, lease_s=1.0).work, 1, compute)
        time.sleep(2.2)  # longer than the lease, which the first one keeps
        assert not second.done()
        go_on.set()
        assert (first.result(10), second.result(10)) == (1, 0)


def test_parts_become_files_of_the_output(store: Store) -> None:
    import datetime

    output = OutputWriter(store, "findings", "0123abc")
    for parts in (PartSet(store, output.prefix, 2, 30), PartSet(store, f"{output.prefix}/work", 2, 30)):
        parts.work(0, compute)
        for part, ref in parts.refs().items():
            output.adopt(f"{parts.prefix}/{part}", ref)
    record = output.close(
        revision=1, science={}, prompts={}, inputs={}, counts={}, models={},
        started=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    read = StageOutput(store, record)
    for name in read.names():
        assert read.read_bytes(name) == compute(int(name[-1]))[0]
    assert len(read.names()) == 4


def test_a_missing_part_is_told(store: Store) -> None:
    parts = PartSet(store, PREFIX, 2, 30)
    with pytest.raises(StoreError, match="Part 0 of 2 is not there"):
        parts.read(0)
    with pytest.raises(StoreError, match="Part 0 of 2 is not there"):
        parts.refs()


def test_a_damaged_part_is_refused_and_can_be_computed_again(store: Store) -> None:
    PartSet(store, PREFIX, 2, 30).work(0, compute)
    ref = PartSet(store, PREFIX, 2, 30).refs()[1]
    store.put(f"{PREFIX}/{ref.key}", b"bit rot")
    with pytest.raises(StoreError, match="checksum") as caught:
        PartSet(store, PREFIX, 2, 30).read(1)
    store.delete(caught.value.where.removeprefix(f"{store.uri}/"))
    again = PartSet(store, PREFIX, 2, 30)
    assert again.work(0, compute) == 1
    assert_undisturbed(again)


def test_data_that_are_gone_and_a_broken_manifest_are_told(store: Store) -> None:
    PartSet(store, PREFIX, 1, 30).work(0, compute)
    parts = PartSet(store, PREFIX, 1, 30)
    store.delete(f"{PREFIX}/{parts.refs()[0].key}")
    with pytest.raises(StoreError, match="are gone"):
        parts.read(0)
    store.put(f"{PREFIX}/parts/00000.json", b"{}")
    with pytest.raises(StoreError, match="manifest"):
        PartSet(store, PREFIX, 1, 30).read(0)


# ---- any interleaving, any deaths ------------------------------------------------------


class Killed(BaseException):
    """What a worker of the simulation dies of, at any request; it does nothing afterwards."""


LEASE_S = 20.0


@dataclass
class World:
    """Workers in lock step: each store request and each sleep waits for its turn.

    A turn is drawn by the test: who goes on, for how many steps, and whether that one is killed
    before or after its last request has its effect. Time passes only in sleeps.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    commits: Counter[str] = field(default_factory=Counter)
    now: float = 0.0
    turn: threading.Condition = field(default_factory=threading.Condition)
    waiting: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)
    granted: dict[int, str] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    me: threading.local = field(default_factory=threading.local)

    def step(self) -> str:
        """Waits for this worker's turn; how it is to go: ``live``, ``before`` or ``after``."""
        worker = self.me.worker
        if worker in self.dead:
            raise Killed
        with self.turn:
            self.waiting.add(worker)
            self.turn.notify_all()
            assert self.turn.wait_for(lambda: worker in self.granted, timeout=20)
            fate = self.granted.pop(worker)
            if fate != "live":
                self.dead.add(worker)
        if fate == "before":
            raise Killed
        return fate

    def request(self, effect: Callable[[], object]) -> object:
        fate = self.step()
        result = effect()
        if fate == "after":
            raise Killed
        return result

    def sleep(self, _seconds: float) -> None:
        self.step()
        self.now += LEASE_S  # so that whoever waits once may take over

    def start(self, worker: int, life: Callable[[], object]) -> None:
        def run() -> None:
            self.me.worker = worker
            try:
                life()
            except Killed:
                pass
            finally:
                with self.turn:
                    self.running.discard(worker)
                    self.turn.notify_all()

        self.running.add(worker)
        threading.Thread(target=run, daemon=True).start()

    def settle(self) -> list[int]:
        """The workers that wait for their turn, once all do."""
        with self.turn:
            assert self.turn.wait_for(lambda: self.waiting >= self.running, timeout=20)
            return sorted(self.waiting & self.running)

    def grant(self, worker: int, fate: str) -> None:
        with self.turn:
            self.waiting.discard(worker)
            self.granted[worker] = fate
            self.turn.notify_all()
            # Until it waits again or has ended, so that there is one order of events.
            assert self.turn.wait_for(
                lambda: worker in self.waiting or worker not in self.running, timeout=20
            )


class SimulatedStore:
    """The store of a world."""

    uri = "memory://world"

    def __init__(self, world: World):
        self.world = world

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        data = self.get(key)
        return None if data is None else (data, sha256(data))

    def get(self, key: str) -> bytes | None:
        return self.world.request(lambda: self.world.objects.get(key))  # type: ignore[return-value]

    def stat(self, key: str) -> Stat | None:
        raise NotImplementedError

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        def effect() -> None:
            old = self.world.objects.get(key)
            if (if_absent and old is not None) or (
                if_match is not None and (old is None or sha256(old) != if_match)
            ):
                raise Conflict(key)
            self.world.objects[key] = data
            if "/parts/" in key:
                self.world.commits[key] += 1

        self.world.request(effect)
        return sha256(data)

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        return iter(self.world.request(lambda: sorted(k for k in self.world.objects if k.startswith(prefix))))

    def delete(self, key: str) -> None:
        self.world.request(lambda: self.world.objects.pop(key, None))

    def upload(self, key: str, path: Path) -> None:
        raise NotImplementedError

    def download(self, key: str, path: Path) -> None:
        raise NotImplementedError


TURNS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 20), st.sampled_from(["live", "live", "before", "after"])),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(workers=st.integers(1, 3), count=st.integers(1, 3), turns=TURNS)
# One worker is slow, another takes its part over and commits it, then the slow one comes back.
@example(workers=2, count=1, turns=[(0, 5, "live"), (1, 20, "live"), (0, 20, "live")])
@example(workers=2, count=1, turns=[(0, 6, "live"), (1, 11, "live"), (0, 20, "live")])
def test_any_interleaving_and_any_deaths_give_each_part_once(
    workers: int, count: int, turns: list[tuple[int, int, str]]
) -> None:
    world = World()
    store = SimulatedStore(world)
    finished: dict[int, int] = {}

    def life(worker: int) -> None:
        def signed(part: int) -> tuple[bytes, int]:
            return f"part {part} by {worker}".encode(), part

        finished[worker] = PartSet(store, PREFIX, count, LEASE_S).work(worker, signed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_module.time, "sleep", world.sleep)
        patch.setattr(leases_module.time, "monotonic", lambda: world.now)
        # No holder renews its lease: the hardest case, where slow workers are taken over too.
        patch.setattr(leases_module, "RENEWALS_PER_LEASE", 0.001)
        for worker in range(workers):
            world.start(worker, lambda worker=worker: life(worker))  # type: ignore[misc]
        for choice, steps, fate in turns:
            for step in range(steps):
                ready = world.settle()
                if not ready:
                    break
                chosen = ready[choice % len(ready)]
                world.grant(chosen, fate if step == steps - 1 else "live")
        # Whoever is left goes on, and a run that was killed altogether is started again.
        world.start(99, lambda: life(99))
        for turn in range(10_000):
            if not (ready := world.settle()):
                break
            world.grant(ready[turn % len(ready)], "live")
        assert not world.running

    data = world.objects
    assert sorted(world.commits) == [f"{PREFIX}/parts/{part:05d}.json" for part in range(count)]
    assert set(world.commits.values()) == {1}
    for part in range(count):
        manifest = parts_module.Manifest.model_validate_json(data[f"{PREFIX}/parts/{part:05d}.json"])
        assert data[f"{PREFIX}/{manifest.key}"] == f"part {part} by {manifest.worker}".encode()
        assert manifest.sha256 == sha256(data[f"{PREFIX}/{manifest.key}"])
    claimed = sum(finished.values())
    assert claimed == count if not world.dead else claimed <= count
