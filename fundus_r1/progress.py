"""Progress events: stages tell how far they are, whoever has the terminal draws it.

An event is a JSON line. With ``FUNDUS_R1_EVENTS`` naming a file, events are appended there and
`fundus-r1 run` follows it; without, a plain line goes to standard error now and then.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

EVENTS_FILE = "FUNDUS_R1_EVENTS"
PLAIN_EVERY_S = 10.0


def emit(stage: str, kind: str, **fields: object) -> None:
    """Sends one event; `kind` is ``start``, ``progress``, ``note``, ``hit``, ``done`` or ``failed``."""
    event = {"time": round(time.time(), 3), "stage": stage, "kind": kind, **fields}
    target = os.environ.get(EVENTS_FILE)
    line = json.dumps(event, ensure_ascii=False)
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    elif kind != "progress":
        told = " ".join(f"{key}={value}" for key, value in fields.items())
        print(f"[{stage}] {kind} {told}".rstrip(), file=sys.stderr, flush=True)


class Progress:
    """Counts units of work of one stage (or of one worker of it).

    Args:
        stage: the stage's name.
        total: units in all, None where it is not known.
        unit: what is counted, in the plural ("images").
        worker: number of the worker, None for a stage that is not spread out.
    """

    def __init__(self, stage: str, total: int | None, unit: str, worker: int | None = None):
        self.stage, self.total, self.unit, self.worker = stage, total, unit, worker
        self.done = 0
        self._started = time.monotonic()
        self._told = self._started

    def begin(self) -> None:
        """The clock starts now, not when this was made."""
        self._started = self._told = time.monotonic()

    def advance(self, units: int = 1, **fields: object) -> None:
        """Tells that more units are done; further fields (loss, reward) travel along."""
        self.set(self.done + units, **fields)

    def set(self, done: int, **fields: object) -> None:
        """Tells how many units are done in all."""
        self.done = done
        finished = done == self.total
        if self.total is not None:
            # What one worker does of a shared whole is estimated, and may turn out to be more.
            self.total = max(self.total, done)
        now = time.monotonic()
        rate = done / max(now - self._started, 1e-6)
        left = None if self.total is None or not done else round((self.total - done) / rate, 1)
        emit(
            self.stage, "progress", done=done, total=self.total, unit=self.unit, worker=self.worker,
            rate=round(rate, 3), eta_s=left, **fields,
        )  # fmt: skip
        plain = not os.environ.get(EVENTS_FILE)
        if plain and (now - self._told >= PLAIN_EVERY_S or finished):
            self._told = now
            print(describe(done, self.total, self.unit, rate, left, self.stage, fields), file=sys.stderr)


def describe(
    done: int,
    total: int | None,
    unit: str,
    rate: float,
    eta_s: float | None,
    stage: str,
    fields: dict[str, object],
) -> str:
    """One plain line of progress."""
    of = f"/{total}" if total is not None else ""
    eta = f", {eta_s:.0f} s left" if eta_s is not None else ""
    more = "".join(
        f", {key} {value:.4g}" if isinstance(value, float) else f", {key} {value}"
        for key, value in fields.items()
    )
    return f"[{stage}] {done}{of} {unit}, {rate:.2g}/s{eta}{more}"
