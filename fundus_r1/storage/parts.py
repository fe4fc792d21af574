"""The parts of a stage that is spread over workers (paper, Sec. 3.2.2: the observer's rollouts).

A part is there whole or not at all. Its bytes are put under a key that contains their SHA-256;
then a small manifest is put under the part's own key *if there is none*. That one conditional
write decides: of two workers that computed the same part one wins, and what the other wrote is
never read. Leases only keep them from computing it twice.

Below the prefix: ``data/<part>-<sha256>``, ``parts/<part>.json`` (the manifests) and
``leases/<part>``, which is gone once the part is there.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.record import FileRef
from fundus_r1.rows import Row
from fundus_r1.storage.leases import Leases
from fundus_r1.storage.lines import parse_lines
from fundus_r1.storage.protocol import Conflict, Store

R = TypeVar("R", bound=Row)

_GOLDEN = 0.6180339887498949
_POLLS_PER_LEASE = 10
_LONGEST_POLL_S = 2.0


class Manifest(BaseModel):
    """One committed part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: int
    key: str
    """Of the data, below the part set's prefix."""
    sha256: str
    size: int
    rows: int
    worker: int
    attempt: str
    """Tells apart two attempts of one worker."""


class PartSet:
    """All parts of one output.

    Args:
        store: where they lie.
        prefix: ``<stage>/<fingerprint>`` of the output, or a folder below it.
        count: how many there are; they are numbered from 0.
        lease_s: seconds after which a part whose worker gives no sign of life may be taken over.
    """

    def __init__(self, store: Store, prefix: str, count: int, lease_s: float):
        self.store = store
        self.prefix = prefix.rstrip("/")
        self.count = count
        self.lease_s = lease_s
        self._known: dict[int, Manifest] = {}

    def _key(self, part: int) -> str:
        return f"{self.prefix}/parts/{part:05d}.json"

    def missing(self) -> list[int]:
        """Numbers of the parts that are not there yet, ascending."""
        there = set(self.store.list(f"{self.prefix}/parts/"))
        return [part for part in range(self.count) if self._key(part) not in there]

    def work(self, worker: int, compute: Callable[[int], tuple[bytes, int]], lanes: int = 1) -> int:
        """Computes parts until all are there, its own and those that others leave behind.

        What it asks of the store grows with the number of parts that it computes or finds done on its
        way, not with the number of parts times that of passes: a pass lists what is there once.

        Args:
            worker: number of this worker; each starts at another place.
            compute: part -> (its bytes, rows in them); may be called for a part that another
                worker computes too. What it raises ends this worker and frees the part.
            lanes: parts that this worker computes at once, each in a thread.

        Returns:
            How many parts this worker committed.
        """
        leases = [Leases(self.store, f"worker {worker}", self.lease_s) for _ in range(lanes)]
        done = 0
        while missing := self.missing():
            waiting = deque(self._in_order(missing, worker))
            passes = [_Pass(self, worker, compute, waiting, own) for own in leases]
            if lanes == 1:
                passes[0].run()
            else:
                _side_by_side(passes, waiting)
            done += sum(one.committed for one in passes)
            if not any(one.claimed for one in passes):
                time.sleep(min(self.lease_s / _POLLS_PER_LEASE, _LONGEST_POLL_S))
        return done

    def _in_order(self, parts: list[int], worker: int) -> list[int]:
        # Multiples of the golden ratio lie well apart, however many workers there are.
        start = int(worker * _GOLDEN % 1 * self.count)
        return [part for part in parts if part >= start] + [part for part in parts if part < start]

    def commit(self, part: int, worker: int, data: bytes, rows: int) -> bool:
        """Stores a part unless it is there; whether it is this attempt that made it."""
        digest = sha256(data)
        manifest = Manifest(
            part=part,
            key=f"data/{part:05d}-{digest}",
            sha256=digest,
            size=len(data),
            rows=rows,
            worker=worker,
            attempt=uuid.uuid4().hex,
        )
        self.store.put(f"{self.prefix}/{manifest.key}", data)
        try:
            self.store.put(self._key(part), manifest.model_dump_json().encode(), if_absent=True)
        except Conflict:
            # Also met by a client that sends its request twice because the answer was lost.
            return self.find(part) == manifest
        return True

    def find(self, part: int) -> Manifest | None:
        """What is committed as a part, or None."""
        if part not in self._known:
            data = self.store.get(self._key(part))
            if data is None:
                return None
            try:
                self._known[part] = Manifest.model_validate_json(data)
            except ValidationError as error:
                what = f"The manifest of a part cannot be read: {len(data)} bytes, {data[:60]!r}"
                raise self._damaged(part, what) from error
        return self._known[part]

    def _manifest(self, part: int) -> Manifest:
        found = self.find(part)
        if found is None:
            raise StoreError(
                f"Part {part} of {self.count} is not there",
                where=f"{self.store.uri}/{self._key(part)}",
                hint="run the stage's workers again; they compute what is missing",
            )
        return found

    def _damaged(self, part: int, what: str) -> StoreError:
        return StoreError(
            what,
            where=f"{self.store.uri}/{self._key(part)}",
            hint="delete this object and run the stage again; only this part is computed again",
        )

    def read(self, part: int) -> bytes:
        """The bytes of a part.

        Raises:
            StoreError: it is missing or damaged.
        """
        manifest = self._manifest(part)
        data = self.store.get(f"{self.prefix}/{manifest.key}")
        if data is None:
            raise self._damaged(part, f"The data of part {part} are gone")
        if sha256(data) != manifest.sha256:
            raise self._damaged(part, f"Part {part} does not have the checksum of its manifest")
        return data

    def rows(self, part: int, row_type: type[R]) -> Iterator[R]:
        """The rows of a part whose bytes are JSON lines.

        Raises:
            StoreError: it is missing or damaged, or holds something else.
        """
        where = f"{self.store.uri}/{self._key(part)}"
        return parse_lines(self.read(part).splitlines(), row_type, where)

    def refs(self) -> dict[int, FileRef]:
        """All parts as files of the output, for `OutputWriter.adopt`.

        Raises:
            StoreError: a part is missing.
        """
        # A file's key is relative to <stage>/<fingerprint>, the first two segments.
        below = "/".join([*self.prefix.split("/")[2:], ""])
        refs = {}
        for part in range(self.count):
            found = self._manifest(part)
            refs[part] = FileRef(key=below + found.key, sha256=found.sha256, size=found.size, rows=found.rows)
        return refs


class _Pass:
    """One lane's way through the parts that were missing when they were listed."""

    def __init__(
        self,
        parts: PartSet,
        worker: int,
        compute: Callable[[int], tuple[bytes, int]],
        waiting: deque[int],
        leases: Leases,
    ):
        self.committed = 0
        self.claimed = 0
        """Parts that were this lane's to compute, or were found done under their lease."""
        self._parts, self._worker, self._compute = parts, worker, compute
        self._waiting, self._leases = waiting, leases

    def run(self) -> None:
        """Takes parts from those that wait until none is left."""
        while True:
            try:
                part = self._waiting.popleft()
            except IndexError:
                return
            self._take(part)

    def _take(self, part: int) -> None:
        # The listing is true until the first part took its time.
        if self.claimed and self._parts.find(part) is not None:
            return
        lease = self._leases.acquire(f"{self._parts.prefix}/leases/{part:05d}")
        if lease is None:
            return
        self.claimed += 1
        with lease:
            if self._parts.find(part) is None:
                self.committed += self._parts.commit(part, self._worker, *self._compute(part))
        self._parts.store.delete(lease.key)


def _side_by_side(passes: list[_Pass], waiting: deque[int]) -> None:
    """Runs lanes in threads; the first failure is raised once the others have finished their parts."""
    with ThreadPoolExecutor(len(passes), thread_name_prefix="lane") as pool:
        running = [pool.submit(one.run) for one in passes]
        try:
            for lane in as_completed(running):
                lane.result()
        except BaseException:
            waiting.clear()
            raise
