"""Draws progress events: bars on a terminal, a line now and then in a plain log."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from fundus_r1.progress import PLAIN_EVERY_S, describe

POLL_S = 0.2
_CORE = {"time", "stage", "kind", "done", "total", "unit", "worker", "rate", "eta_s"}


class Display:
    """Follows a file of events until it is closed.

    Attributes:
        hits: stages whose output was taken from the store, in order.
        ran: stages that were run to the end, in order.
        failures: (stage, error) pairs.
    """

    def __init__(self, events: Path, console: Console):
        self.hits: list[str] = []
        self.ran: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self._events = events
        self._console = console
        self._bars: Progress | None = None
        self._tasks: dict[tuple[str, Any], TaskID] = {}
        self._told: dict[tuple[str, Any], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="display", daemon=True)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("  {task.description:<22}"),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[told]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._bars.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._bars:
            self._bars.stop()

    def _follow(self) -> None:
        rest, place = b"", 0
        while True:
            last = self._stop.is_set()
            if self._events.exists():
                with self._events.open("rb") as file:
                    file.seek(place)
                    new = file.read()
                place += len(new)
                *lines, rest = (rest + new).split(b"\n")
                for line in lines:
                    self._draw(json.loads(line))
            if last:
                return
            time.sleep(POLL_S)

    def _say(self, mark: str, style: str, stage: str, text: str) -> None:
        line = Text.assemble((f"  {mark} ", style), (f"{stage:<10}", "bold"), text)
        self._console.print(line, highlight=False, soft_wrap=True)

    def _draw(self, event: dict[str, Any]) -> None:
        stage, kind = event["stage"], event["kind"]
        if kind == "progress":
            self._advance(stage, event)
            return
        if kind in ("hit", "done", "failed"):
            self._drop(stage)
        if kind == "hit":
            self.hits.append(stage)
            self._say("=", "cyan", stage, f"in the store ({event['fingerprint']})")
        elif kind == "done":
            self.ran.append(stage)
            counts = ", ".join(f"{k} {_short(v)}" for k, v in event["counts"].items() if v is not None)
            self._say("+", "green", stage, f"{event['seconds']:.0f} s: {counts}")
        elif kind == "failed":
            self.failures.append((stage, event["error"]))
            self._say("!", "red", stage, "failed")
        elif kind == "note":
            told = event.get("text") or " ".join(f"{k} {v}" for k, v in event.items() if k not in _CORE)
            self._say("·", "dim", stage, told)

    def _advance(self, stage: str, event: dict[str, Any]) -> None:
        key = (stage, event["worker"])
        more = {name: value for name, value in event.items() if name not in _CORE}
        name = stage if event["worker"] is None else f"{stage} worker {event['worker']}"
        told = describe(
            event["done"], event["total"], event["unit"], event["rate"], event["eta_s"], name, more
        )
        if self._bars:
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(name, total=event["total"], told="")
            text = told.partition("] ")[2]
            self._bars.update(self._tasks[key], completed=event["done"], total=event["total"], told=text)
        elif time.monotonic() - self._told.get(key, 0.0) >= PLAIN_EVERY_S:
            self._told[key] = time.monotonic()
            self._console.print(f"    {told}", highlight=False, soft_wrap=True, markup=False)

    def _drop(self, stage: str) -> None:
        for key in [key for key in self._tasks if key[0] == stage]:
            task = self._tasks.pop(key)
            if self._bars:
                self._bars.remove_task(task)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
