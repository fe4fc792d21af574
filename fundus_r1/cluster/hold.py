"""A launcher's hold on its job: a sign of life now and then, and one DELETE when it is told to end.

When a run is terminated, its steps get SIGTERM and about a second: time for one request over a connection
that is open already, none to wait for anything. So a connection is kept for it alone, warm by the signs of
life that go over it. Where other runs own the job too, it only loses this owner (`cluster.owners`).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from fundus_r1.cluster.child import SEEN, Resource
from fundus_r1.cluster.client import Changed, Cluster
from fundus_r1.cluster.owners import Owner, leave
from fundus_r1.cluster.state import word_of_job
from fundus_r1.errors import ClusterError

_PATIENCE_S = 0.3
# A create that is under way when the signal comes may be there a moment later.
_ALMOST_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def now() -> str:
    """The time as it stands in `SEEN`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Hold:
    """A context manager; signals are heeded in the main thread only.

    Args:
        cluster: where the job is.
        resource: the kind of job.
        owner: the run's own Workflow.
        heartbeat_s: seconds between two signs of life.
    """

    def __init__(self, cluster: Cluster, resource: Resource, owner: Owner | None, heartbeat_s: float):
        self.resource, self.owner = resource, owner
        self.name: str | None = None
        """Of the job that is being made, or was; None while there is none."""
        self.job: Callable[[], dict[str, Any] | None] = lambda: None
        """The job as last seen."""
        self._cluster = cluster.apart(_PATIENCE_S)
        self._heartbeat_s = heartbeat_s
        self._closed = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        with contextlib.suppress(ClusterError):  # a server that is away now gets its connection later
            self._cluster.version()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._end) for number in _SIGNALS}
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _beat(self) -> None:
        failed = False
        while not self._closed.wait(self._heartbeat_s):
            job = self.job()
            if job is None:
                continue
            meta = job["metadata"]
            try:
                self._cluster.patch(self.resource, meta["name"], _seen(meta["uid"]))
                failed = False
            except Changed:
                continue  # another of this name, which is not ours to keep alive
            except ClusterError as error:
                if not failed:
                    print(f"no sign of life could be left: {error}", file=sys.stderr, flush=True)
                failed = True

    def _end(self, number: int, _frame: FrameType | None) -> None:
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        try:
            told = self._let_go()
        except ClusterError as error:
            told = f"could not be deleted, which is left to the reaper: {error.what}"
        if told:
            # Not by print: the main thread may be in the midst of one.
            os.write(2, f"{signal.Signals(number).name}: {self.resource.kind} {self.name} {told}\n".encode())
        raise SystemExit(128 + number)

    def _let_go(self) -> str:
        if self.name is None:
            return ""
        job = self.job() or self._cluster.get(self.resource, self.name)
        if job is None:
            time.sleep(_ALMOST_S)
            job = self._cluster.get(self.resource, self.name)
        if job is None:
            return "is not there"
        if word_of_job(self.resource, job):
            return "has ended"
        return leave(self._cluster, self.resource, job, self.owner)


def _seen(uid: str) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "annotations": {SEEN: now()}}}
