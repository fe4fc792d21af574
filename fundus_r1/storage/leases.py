"""Leases: who works on what, so that two workers rarely do the same thing.

A lease is a small object that its holder rewrites (``If-Match``) a few times in each `lease_s`.
Nobody compares clocks: machines disagree about the time. A lease has run out when *we* have
seen its etag unchanged for `lease_s` on our own monotonic clock, or when its holder was a
process of this very machine that is gone, so that a killed run goes on at once.

While the store is away nobody can renew, so nobody is blamed for it: a holder goes on trying, and
one who waits begins to count anew when he notices.

A lease saves work; it guards nothing. A holder that was only slow may still be at work when the
next one begins, so what leaseholders write must be decided by a conditional write of its own
(`storage.parts` does so).
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from functools import cache
from pathlib import Path
from types import TracebackType

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from fundus_r1.errors import StoreError
from fundus_r1.storage.protocol import Conflict, Store

RENEWALS_PER_LEASE = 4


class Holder(BaseModel):
    """What the object of a lease holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    holder: str
    """For people: worker and host."""
    token: str
    """Of this one acquisition; empty when the lease was given back."""
    beat: int = 0
    """Counts the renewals, so that each changes the etag."""
    machine: str = ""
    """Boot and process namespace: where `pid` means something."""
    pid: int = 0
    born: float = 0.0
    """Start time of the process, since pids are used again."""

    def is_gone(self) -> bool:
        """Whether the holder is known to be at work no more, without waiting."""
        if not self.token:
            return True
        if self.machine != _machine():
            return False
        try:
            return psutil.Process(self.pid).create_time() != self.born
        except psutil.NoSuchProcess:
            return True


@cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"


class Lease:
    """A lease that is held, and kept by a thread until `release`. Use it with ``with``."""

    def __init__(self, store: Store, key: str, holder: Holder, etag: str, lease_s: float):
        self.store = store
        self.key = key
        self.lease_s = lease_s
        self._holder = holder
        self._etag = etag
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {key}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another worker may hold the lease by now."""
        return self._lost.is_set()

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(self.lease_s / RENEWALS_PER_LEASE):
            try:
                self._renew()
            except Conflict:
                self._lost.set()
                return
            except StoreError:
                # The store may be away for a moment; others see our last beat meanwhile.
                if time.monotonic() - renewed > self.lease_s:
                    self._lost.set()
            else:
                # Our etag was still there: nobody has taken over.
                renewed = time.monotonic()
                self._lost.clear()

    def _renew(self) -> None:
        following = self._holder.model_copy(update={"beat": self._holder.beat + 1})
        self._etag = _put_as(self.store, self.key, following, if_match=self._etag)
        self._holder = following

    def release(self) -> None:
        """Gives the lease back, unless another worker has taken it over.

        Stores know no conditional delete, so the object stays and says that it is free.
        """
        self._stop.set()
        self._thread.join()
        if not self.lost:
            try:
                free = Holder(holder=self._holder.holder, token="", beat=self._holder.beat + 1)
                self.store.put(self.key, _encode(free), if_match=self._etag)
            except Conflict:
                self._lost.set()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Leases:
    """Takes leases for one worker, and remembers for how long it has seen those of others.

    Args:
        store: where the leases lie.
        worker: for people, who holds a lease.
        lease_s: seconds without a sign of life after which a lease has run out; the same for
            all workers.
    """

    def __init__(self, store: Store, worker: str, lease_s: float):
        self.store = store
        self.lease_s = lease_s
        self._worker = f"{worker} on {socket.gethostname()}"
        self._seen: dict[str, tuple[str, float]] = {}

    def acquire(self, key: str) -> Lease | None:
        """The lease, or None while another worker holds it.

        Raises:
            StoreError: the store refused, or the object is no lease.
        """
        me = Holder(
            holder=self._worker,
            token=uuid.uuid4().hex,
            machine=_machine(),
            pid=os.getpid(),
            born=psutil.Process().create_time(),
        )
        asked = time.monotonic()
        try:
            found = self.store.get_with_etag(key)
            if time.monotonic() - asked > self.lease_s / RENEWALS_PER_LEASE:
                self._seen.clear()
            if found is None:
                etag = _put_as(self.store, key, me, if_absent=True)
            elif self._has_run_out(key, *found):
                etag = _put_as(self.store, key, me, if_match=found[1])
            else:
                return None
        except Conflict:
            return None
        self._seen.pop(key, None)
        return Lease(self.store, key, me, etag, self.lease_s)

    def _has_run_out(self, key: str, data: bytes, etag: str) -> bool:
        if _decode(self.store, key, data).is_gone():
            return True
        now = time.monotonic()
        seen, since = self._seen.setdefault(key, (etag, now))
        if seen != etag:
            self._seen[key] = (etag, now)
            return False
        return now - since >= self.lease_s


def _encode(holder: Holder) -> bytes:
    return holder.model_dump_json().encode()


def _decode(store: Store, key: str, data: bytes) -> Holder:
    try:
        return Holder.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            "A lease cannot be read",
            where=f"{store.uri}/{key}",
            hint="another version of this program may be at work there; else delete the object",
        ) from error


def _put_as(
    store: Store, key: str, holder: Holder, *, if_absent: bool = False, if_match: str | None = None
) -> str:
    """A conditional write that knows its own work again.

    A client that resends a request whose answer was lost meets its own object and reports a
    conflict; then the token is ours.
    """
    try:
        return store.put(key, _encode(holder), if_absent=if_absent, if_match=if_match)
    except Conflict:
        found = store.get_with_etag(key)
        if found is None or found[0] != _encode(holder):
            raise
        return found[1]
