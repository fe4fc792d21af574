"""Continuous batching in process: requests enter vLLM's engine as others leave it.

The rule: the engine always has more sequences than it runs at once, as long as there are any; what comes
next is prepared in a thread meanwhile, so the engine waits only where there is nothing else to compute; and
answers leave in the order of the requests, of which a bounded number is in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

R = TypeVar("R")

_AHEAD = 16
"""Requests prepared, or being prepared, before the engine has room for them."""
_QUEUED = 2
_HELD = 4
"""Sequences in the engine, and requests in memory, for each sequence that runs at once."""


@dataclass(frozen=True)
class Prepared:
    """A request as the engine takes it."""

    prompt: Any
    """Tokens and processed image, as vLLM's renderer makes them."""
    sampling: Any
    """`vllm.SamplingParams`."""


class Flow(Generic[R]):
    """Iterates over (request, vLLM's output), in the order of the requests. Not for several threads.

    Args:
        engine: `vllm.LLM.llm_engine`, in process.
        prepare: makes a request ready; called in another thread.
        running: sequences that the engine runs at once.
        requests: taken as room for them comes free.
    """

    def __init__(self, engine: Any, prepare: Callable[[R], Prepared], running: int, requests: Iterator[R]):
        self._engine = engine
        self._prepare = prepare
        self._running = running
        self._requests = requests
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prepare-images")
        self._ready: deque[tuple[R, Future[Prepared]]] = deque()
        self._order: deque[tuple[R, str]] = deque()
        """Requests in the engine, or out of it and not handed on yet, with their numbers."""
        self._inside: dict[str, tuple[str, int]] = {}
        """Number -> the engine's own name and the sequences of what is not finished."""
        self._done: dict[str, Any] = {}
        self._sequences = 0
        self._count = 0

    def __iter__(self) -> Iterator[tuple[R, Any]]:
        while True:
            self._take()
            self._enter()
            if not self._order:
                return
            while self._order and self._order[0][1] in self._done:
                request, number = self._order.popleft()
                yield request, self._done.pop(number)
            if self._inside:
                self._step()

    def _take(self) -> None:
        while len(self._ready) < _AHEAD and len(self._order) < _HELD * self._running:
            try:
                request = next(self._requests)
            except StopIteration:
                return
            self._ready.append((request, self._pool.submit(self._prepare, request)))

    def _enter(self) -> None:
        while self._ready and self._sequences < _QUEUED * self._running:
            request, preparing = self._ready[0]
            if self._inside and not preparing.done():
                return
            prepared = preparing.result()
            self._ready.popleft()
            number = str(self._count)
            self._count += 1
            name = self._engine.add_request(number, prepared.prompt, prepared.sampling)
            self._inside[number] = (name, prepared.sampling.n)
            self._sequences += prepared.sampling.n
            self._order.append((request, number))
            self._take()

    def _step(self) -> None:
        for output in self._engine.step():
            if output.finished:
                _, sequences = self._inside.pop(output.request_id)
                self._sequences -= sequences
                self._done[output.request_id] = output

    def close(self) -> None:
        """Takes out of the engine what is still in it, and ends the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._inside:
            self._engine.abort_request([name for name, _ in self._inside.values()], internal=True)
            self._inside.clear()
