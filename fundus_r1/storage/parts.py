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
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.record import FileRef
from fundus_r1.storage.leases import Leases
from fundus_r1.storage.protocol import Conflict, Store

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

    def work(self, worker: int, compute: Callable[[int], tuple[bytes, int]]) -> int:
        """Computes parts until all are there, its own and those that others leave behind.

        Args:
            worker: number of this worker; each starts at another place.
            compute: part -> (its bytes, rows in them); may be called for a part that another
                worker computes too. What it raises ends this worker and frees the part.

        Returns:
            How many parts this worker committed.
        """
        leases = Leases(self.store, f"worker {worker}", self.lease_s)
        done = 0
        while missing := self.missing():
            waiting = True
            for part in self._in_order(missing, worker):
                if self._find(part) is not None:
                    continue
                lease = leases.acquire(f"{self.prefix}/leases/{part:05d}")
                if lease is None:
                    continue
                waiting = False
                with lease:
                    if self._find(part) is None:
                        done += self._commit(part, worker, *compute(part))
                self.store.delete(lease.key)
            if waiting:
                time.sleep(min(self.lease_s / _POLLS_PER_LEASE, _LONGEST_POLL_S))
        return done

    def _in_order(self, parts: list[int], worker: int) -> list[int]:
        # Multiples of the golden ratio lie well apart, however many workers there are.
        start = int(worker * _GOLDEN % 1 * self.count)
        return [part for part in parts if part >= start] + [part for part in parts if part < start]

    def _commit(self, part: int, worker: int, data: bytes, rows: int) -> bool:
        """Whether it is this attempt that made the part."""
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
            return self._find(part) == manifest
        return True

    def _find(self, part: int) -> Manifest | None:
        if part not in self._known:
            data = self.store.get(self._key(part))
            if data is None:
                return None
            try:
                self._known[part] = Manifest.model_validate_json(data)
            except ValidationError as error:
                raise self._damaged(part, "The manifest of a part cannot be read") from error
        return self._known[part]

    def _manifest(self, part: int) -> Manifest:
        found = self._find(part)
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
