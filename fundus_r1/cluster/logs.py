"""What a job's pods print: shown line by line as ``[worker-1] …``, and kept whole in the store.

A thread a pod reads its log as it grows. Where a connection ends, the log is read again from a moment
before the last line, and lines that were had are left out, so that none is lost and none is double. A log
that cannot be read is no failure of the job: that is said once, and tried again now and then. Readers that
come again take turns, so that hundreds of them are at most one request in two seconds. Lines wait in files,
not in memory; the last ones of each pod are kept for a diagnosis.
"""

from __future__ import annotations

import datetime
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fundus_r1.cluster.client import Cluster
from fundus_r1.cluster.state import moment, over
from fundus_r1.cluster.story import role_of
from fundus_r1.errors import ClusterError, FundusError
from fundus_r1.storage.protocol import Store

TAIL = 50
"""Lines of each pod that are kept for a diagnosis."""
KEEP_EVERY_S = 900.0
"""Seconds between two uploads of a log that grows."""
ENDED_S = 30.0
"""Seconds in which the rest of the logs of pods that have ended is waited for."""
RUNNING_S = 3.0
"""The same of pods that run on."""
_TURN_S = 2.0
_SHORTEST_S, _LONGEST_S = 1.0, 60.0
_LONGEST_LINE = 2000
# Times of lines are the node's, and two streams of one container may be a little out of order.
_OVERLAP = datetime.timedelta(seconds=2)


class Logs:
    """The logs of all pods of a job.

    Args:
        cluster: where the pods are.
        folder: for lines on their way; it is the caller's to remove.
        store: where logs are kept whole; None keeps none.
        prefix: of their keys: ``<prefix>/<pod>.log``.
        adopted: whether an earlier launcher may have kept some already.
    """

    def __init__(
        self, cluster: Cluster, folder: Path, store: Store | None, prefix: str, *, adopted: bool = False
    ):
        self.cluster, self.folder = cluster, folder
        self.store, self.prefix, self.adopted = store, prefix, adopted
        self.closed = threading.Event()
        self._readers: dict[str, _Reader] = {}
        self._turns = threading.Lock()
        self._next_turn = 0.0
        self._told: set[str] = set()

    def update(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """Begins to read pods that are new, and lets those that have ended come to their end."""
        for pod in pods:
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            reader = self._readers.get(name)
            if reader is None or reader.uid != uid:
                if (pod.get("status") or {}).get("phase") in (None, "Pending"):
                    continue
                if reader is None:
                    reader = self._readers[name] = _Reader(self, pod)
                else:
                    reader.go_on(uid)
            if over(pod):
                reader.ended.set()

    def finish(self) -> None:
        """Reads all logs to their end, as far as that can be waited for, and keeps them."""
        readers = list(self._readers.values())
        live = [reader for reader in readers if not reader.ended.is_set()]
        for reader in readers:
            reader.ended.set()
        for late, patience_s in ((False, ENDED_S), (True, RUNNING_S)):
            until = time.monotonic() + patience_s
            for reader in readers:
                if (reader in live) == late:
                    reader.thread.join(max(0.0, until - time.monotonic()))
        self.closed.set()
        for reader in readers:
            if reader.thread.is_alive():
                reader.keep()

    def tails(self) -> dict[str, list[str]]:
        """Pod -> its last lines."""
        return {reader.name: list(reader.tail) for reader in list(self._readers.values())}

    def turn(self, patience: threading.Event) -> None:
        """Waits until a reader may ask again; an end of its pod makes it no longer wait."""
        with self._turns:
            now = time.monotonic()
            at = self._next_turn = max(now, self._next_turn + _TURN_S)
        patience.wait(at - now)

    def note(self, text: str) -> None:
        """Says something once."""
        if text not in self._told:
            self._told.add(text)
            print(text, file=sys.stderr, flush=True)


class _Reader:
    """The log of one pod, and of those of the same name that come after it, read by a thread of its own.

    The API names a log by its pod's name alone, so two readers would both read what the later pod says.
    """

    def __init__(self, logs: Logs, pod: Mapping[str, Any]):
        self.name, self.uid = str(pod["metadata"]["name"]), pod["metadata"]["uid"]
        self.role = role_of(pod)
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.ended = threading.Event()
        """Set when the pod has ended, so that there is an end to come to."""
        self._logs = logs
        self._container = str(pod["spec"]["containers"][0]["name"])
        self._path = logs.folder / f"{self.name}.log"
        self._key = f"{logs.prefix}/{self.name}.log"
        self._last: datetime.datetime | None = None
        self._had: Counter[str] = Counter()
        self._kept_size, self._kept_at = 0, time.monotonic()
        self._ending = threading.Lock()
        self._through = False
        self._begin()

    def go_on(self, uid: str) -> None:
        """Reads on with a later pod of the same name."""
        self.uid = uid
        with self._ending:
            self.ended.clear()
            if self._through:
                self._begin()

    def _begin(self) -> None:
        self._through = False
        self.thread = threading.Thread(target=self._read, name=f"log-{self.name}", daemon=True)
        self.thread.start()

    def _read(self) -> None:
        if self._logs.adopted and self._last is None:
            self._resume()
        pause_s = _SHORTEST_S
        while not self._logs.closed.is_set():
            ended = self.ended.is_set()
            try:
                new = self._pass()
            except ClusterError as error:
                self._logs.note(f"[{self.role}] its log cannot be read: {error.what}")
                new = 0
            with self._ending:
                if ended and self.ended.is_set():
                    self._through = True
                    break
            pause_s = _SHORTEST_S if new else min(2 * pause_s, _LONGEST_S)
            self.ended.wait(pause_s)
            self._logs.turn(self.ended)
        self.keep()

    def _pass(self) -> int:
        """Reads on, as long as the connection holds; the number of new lines."""
        new = 0
        since = None if self._last is None else (self._last - _OVERLAP).isoformat(timespec="seconds")
        doubles = Counter(self._had)
        for line in self._logs.cluster.logs(self.name, self._container, since=since, follow=True):
            if doubles[line] > 0:
                doubles[line] -= 1
            else:
                self._take(line)
                new += 1
            if self._logs.closed.is_set():
                break
        return new

    def _take(self, line: str, *, shown: bool = True) -> None:
        stamp, _, text = line.partition(" ")
        at = moment(stamp)
        if at is not None and (self._last is None or at > self._last):
            if self._last is None or at.replace(microsecond=0) > self._last.replace(microsecond=0):
                oldest = (at - 2 * _OVERLAP).isoformat()
                self._had = Counter({had: n for had, n in self._had.items() if had > oldest})
            self._last = at
        self._had[line] += 1
        self.tail.append(text[:_LONGEST_LINE])
        if not shown:
            return
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")
        # One call a line: lines of several pods never run into each other.
        sys.stderr.write(f"[{self.role}] {text}\n")
        if time.monotonic() - self._kept_at > KEEP_EVERY_S:
            self.keep()

    def _resume(self) -> None:
        """Goes on from what an earlier launcher has kept."""
        store = self._logs.store
        try:
            if store is None or store.stat(self._key) is None:
                return
            store.download(self._key, self._path)
        except FundusError as error:
            self._logs.note(f"[{self.role}] its log so far cannot be had: {error.what}")
            return
        self._kept_size = self._path.stat().st_size
        with self._path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                self._take(line.rstrip("\n"), shown=False)

    def keep(self) -> None:
        """Puts the log so far into the store."""
        self._kept_at = time.monotonic()
        size = self._path.stat().st_size if self._path.exists() else 0
        if self._logs.store is None or size == self._kept_size:
            return
        try:
            self._logs.store.upload(self._key, self._path)
            self._kept_size = size
        except FundusError as error:
            self._logs.note(f"[{self.role}] its log could not be kept: {error.what}")
