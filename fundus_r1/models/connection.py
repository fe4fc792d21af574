"""A connection to an OpenAI-compatible endpoint that lives as long as the model that uses it.

The rule: one pool of connections, in one event loop in a thread of its own, serves whoever asks, from any
thread. Requests are taken as room for them comes free and answered in their order. What a second try may
cure (`models.failures`) is tried again with jitter until the request's deadline; how many are under way at
once follows what the endpoint takes (`models.limiter`); and an endpoint that is away is asked by one request
at a time until it is back (`models.breaker`). The first request that fails for good ends its call.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from fundus_r1.errors import ModelError
from fundus_r1.models.background import BackgroundLoop
from fundus_r1.models.breaker import Breaker, Pace
from fundus_r1.models.failures import Failure, read_failure
from fundus_r1.models.limiter import Limiter
from fundus_r1.models.turn import Turn
from fundus_r1.models.usage import Usage
from fundus_r1.spec.placement import Endpoint

if TYPE_CHECKING:
    import httpx

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

PACE = Pace()
AHEAD = 4
"""Requests taken from a stream for each that may be under way: one that is slow holds up no others."""
_POOL = 4
"""Connections of one pool, about."""
_SHOWN = 300
"""Characters of an endpoint's own message that an error repeats."""

_log = logging.getLogger(__name__)


class Connection:
    """Where and with which key requests are sent, and how it goes.

    Args:
        endpoint: address, key, time limits and concurrency.
        usage: is told of each failure and each further try.
        pace: how failed requests are tried again.

    Raises:
        ModelError: the variable that should hold the key is empty.
    """

    def __init__(self, endpoint: Endpoint, usage: Usage, pace: Pace = PACE):
        self.endpoint = endpoint
        self.usage = usage
        self.pace = pace
        self.limiter = Limiter(endpoint.concurrency)
        self.breaker = Breaker(pace)
        self.answers = 0
        self.answered_at = -math.inf
        self._key = key_of(endpoint)
        self._loop = BackgroundLoop("model-endpoint")
        self._clients: deque[httpx.AsyncClient] = deque()
        self._opening = threading.Lock()
        self._left_alone_until = -math.inf
        self._news = asyncio.Event()

    def stream(
        self, ask: Callable[[Turn, I], Awaitable[O]], items: Iterable[I], *, deadline_s: float | None = None
    ) -> Iterator[O]:
        """``ask(turn, item)`` for each item, in their order.

        Args:
            ask: sends what it needs to by `Turn.send`; runs in the connection's event loop.
            items: taken lazily, `AHEAD` for each request that may be under way.
            deadline_s: of each item; None takes the endpoint's.

        Raises:
            ModelError: an item got no answer; says what the endpoint said, and never the key.
        """
        failed: Future[O] = Future()
        running: deque[Future[O]] = deque()
        source = iter(items)

        def note(done: Future[O]) -> None:
            if not done.cancelled() and (error := done.exception()) and not failed.done():
                failed.set_exception(error)

        async def one(item: I) -> O:
            return await ask(Turn(self, deadline_s or self.endpoint.deadline_s), item)

        try:
            while True:
                while len(running) < AHEAD * self.endpoint.concurrency:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                    self._open()
                    running.append(self._loop.submit(one(item)))
                    running[-1].add_done_callback(note)
                if not running:
                    return
                if not running[0].done():
                    wait((running[0], failed), return_when=FIRST_COMPLETED)
                if failed.done():
                    failed.result()
                yield running.popleft().result()
        finally:
            for unfinished in running:
                unfinished.cancel()

    def _open(self) -> None:
        """Makes the clients; here and not with the first request, whose time it is not.

        A pool looks at all its connections for each request, so there are several small ones. Redirections
        are not followed: the key belongs to this address.
        """
        import httpx

        with self._opening:
            if self._clients:
                return
            # How many requests there are is the limiter's to say, and how long they take the turn's.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=2 * _POOL)
            trusted = httpx.create_ssl_context()
            for _ in range(-(-self.endpoint.concurrency // _POOL)):
                try:
                    client = httpx.AsyncClient(
                        base_url=self.endpoint.url,
                        headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
                        timeout=None,
                        limits=limits,
                        verify=trusted,
                    )
                except httpx.InvalidURL as error:
                    failure = read_failure(error, self.endpoint.timeout_s)
                    raise self.error(failure.said, failure.hint) from error
                self._loop.at_close(client.aclose)
                self._clients.append(client)

    def client(self) -> httpx.AsyncClient:
        """One of the clients, in turn; to be used in the connection's loop only."""
        self._clients.rotate()
        return self._clients[0]

    def close(self) -> None:
        """Ends the connections; a later request opens others."""
        self._loop.close()
        self._clients.clear()
        self.limiter = Limiter(self.endpoint.concurrency)
        self._news = asyncio.Event()

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[bool]:
        """Waits until the endpoint is back, if it is away or wants to be left alone.

        Yields:
            Whether this is the one request that tries an endpoint that is away.
        """
        now = asyncio.get_running_loop().time
        while (rest := self._left_alone_until - now()) > 0:
            await asyncio.sleep(rest)
        while (rest := self.breaker.wait_s(now())) > 0:
            try:
                async with asyncio.timeout(None if rest == math.inf else rest):
                    await self._news.wait()
            except TimeoutError:
                continue
        probing = self.breaker.open
        try:
            yield probing
        except BaseException:
            if probing:
                self.breaker.given_up()
                self._tell()
            raise

    def answered(self, started: float, now: float) -> None:
        """A request sent at `started` was answered."""
        self.answers += 1
        self.answered_at = now
        self.limiter.limit.answered(started, now, full=self.limiter.was_full(started))
        if self.breaker.answered():
            _log.warning("The endpoint %s answers again", self.endpoint.url)
            self._tell()

    def failed(self, failure: Failure, started: float, now: float, *, probing: bool) -> None:
        """A request sent at `started` failed, and may be tried again; `probing` as `admitted` said."""
        self.usage.add(**{f"met_{failure.kind}": 1})
        if failure.wait_s is not None:
            self._left_alone_until = max(self._left_alone_until, now + failure.wait_s)
        if failure.busy:
            self.limiter.limit.busy(started, now)
        if failure.kind == "429":
            self.breaker.answered()  # it is there
        elif self.breaker.failed(now, probing=probing):
            self.usage.add(outages=1)
            self.limiter.limit.restart()
            _log.warning(
                "The endpoint %s does not answer (%d failures; %s). Trying again until each request's "
                "deadline of %g s",
                self.endpoint.url, self.breaker.failures, self.shown(failure.said), self.endpoint.deadline_s,
            )  # fmt: skip
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

    def shown(self, what: str) -> str:
        """Text that may be shown: without the key, even where the endpoint repeats it, and not long."""
        return (what.replace(self._key, "***") if self._key else what)[:_SHOWN]

    def error(
        self, what: str, hint: str, *, transient: bool = False, kind: type[ModelError] = ModelError
    ) -> ModelError:
        """A `ModelError` about this endpoint."""
        return kind(self.shown(what), where=self.endpoint.url, hint=hint, transient=transient)


def key_of(endpoint: Endpoint) -> str | None:
    """The key that is sent to an endpoint; None where it wants none.

    Raises:
        ModelError: the variable that should hold it is empty, or holds what cannot be sent.
    """
    if endpoint.api_key_env is None:
        return None
    # A secret that was read from a file often ends with a line break.
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key or not (key.isascii() and key.isprintable()):
        raise ModelError(
            f"The variable {endpoint.api_key_env} holds no key" + (" that can be sent" if key else ""),
            where=endpoint.url,
            hint=f"set {endpoint.api_key_env}, or leave api_key_env out for a server without keys",
        )
    return key
