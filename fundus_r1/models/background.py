"""An event loop in a thread of its own, so that one client and its connections outlive each call."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_CLOSING_S = 5.0


class BackgroundLoop:
    """Runs coroutines for whoever asks, from any thread. The thread starts with the first of them.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] | None = None
        self._last: list[Callable[[], Awaitable[None]]] = []

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts a coroutine; its future may be cancelled."""
        return asyncio.run_coroutine_threadsafe(work, self._running())

    def at_close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Has this awaited in the loop before it ends."""
        self._last.append(last)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=self._loop.run_forever, name=self._name, daemon=True
                )  # fmt: skip
                thread.start()
                # A model that nobody closes ends with the last reference to it, or with the process.
                self._stop = weakref.finalize(self, _stop, self._loop, thread, self._last)
            return self._loop

    def close(self) -> None:
        """Cancels what runs and ends the thread; a later `submit` starts another."""
        with self._lock:
            stop, self._stop, self._loop = self._stop, None, None
        if stop is not None:
            stop()
        self._last.clear()


def _stop(
    loop: asyncio.AbstractEventLoop, thread: threading.Thread, last: list[Callable[[], Awaitable[None]]]
) -> None:
    async def end() -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, *(final() for final in last), return_exceptions=True)
        loop.stop()

    if not thread.is_alive():
        return
    asyncio.run_coroutine_threadsafe(end(), loop)
    if thread is not threading.current_thread():
        thread.join(_CLOSING_S)
        if not thread.is_alive():
            loop.close()
