"""One request at an endpoint, with all its tries, until it is answered or given up.

The rule: a request has one deadline for everything that is sent for it. It is tried again while the failure
may pass; while nobody is answered it is the endpoint that is ill, and the request waits with it; while others
are answered and this one goes on failing, it is this request that is ill, and it is given up earlier.
"""

from __future__ import annotations

import asyncio
import datetime
import math
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from fundus_r1.errors import ModelError
from fundus_r1.models.failures import Failure, RefusedRequestError, UnusableAnswer, read_failure

if TYPE_CHECKING:
    import httpx

    from fundus_r1.models.connection import Connection

R = TypeVar("R")


class Turn:
    """One request of a call: all that is sent for it has one deadline.

    The clock starts when the request was taken, but does not run against one that waits for its turn
    while the endpoint answers others.

    Args:
        connection: where it is sent.
        deadline_s: seconds until it is given up.
    """

    def __init__(self, connection: Connection, deadline_s: float):
        self._connection = connection
        self._deadline_s = deadline_s
        self._now = asyncio.get_running_loop().time
        self._taken_at = self._now()
        self._deadline: float | None = None
        self._failures = 0
        self._first_failure_at = math.inf
        self._last: Failure | None = None

    async def send(self, call: Callable[[httpx.AsyncClient], Awaitable[R]]) -> R:
        """What `call` returns, tried again as long as that may help.

        Raises:
            ModelError: it failed for good, or the deadline passed.
        """
        await self._first_turn()
        held = True
        connection = self._connection
        own = 0
        try:
            async with asyncio.timeout_at(self._deadline):
                while True:
                    answers = connection.answers
                    outcome = await self._try(call)
                    if not isinstance(outcome, Failure):
                        return outcome[0]
                    connection.limiter.release()
                    held = False
                    # While nobody is answered it is the endpoint that is ill, not this request.
                    own += not outcome.busy and connection.answers > answers
                    if own >= connection.pace.tries:
                        how = f"after {own} tries, though it answers others"
                        raise self._given_up(how, kind=RefusedRequestError)
                    connection.usage.add(retried=1)
                    if not connection.breaker.open:
                        await asyncio.sleep(connection.pace.wait_s(self._failures) * random.uniform(0.5, 1))
                    await connection.limiter.acquire(first=True)
                    held = True
        except TimeoutError:
            raise self._given_up(f"within its deadline of {self._deadline_s:g} s") from None
        finally:
            if held:
                connection.limiter.release()

    async def _first_turn(self) -> None:
        connection = self._connection
        while True:
            since = max(self._taken_at, connection.answered_at)
            until = self._deadline or since + self._deadline_s
            try:
                async with asyncio.timeout_at(until):
                    await connection.limiter.acquire(first=self._deadline is not None)
                break
            except TimeoutError:
                if self._deadline is not None or connection.answered_at <= since:
                    raise self._given_up(f"within its deadline of {self._deadline_s:g} s") from None
        if self._deadline is None:
            self._deadline = max(self._taken_at, connection.answered_at) + self._deadline_s

    async def _try(self, call: Callable[[httpx.AsyncClient], Awaitable[R]]) -> tuple[R] | Failure:
        import httpx

        connection = self._connection
        timeout_s = connection.endpoint.timeout_s
        async with connection.admitted() as probing:
            started = self._now()
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await call(connection.client())
            except (httpx.HTTPError, httpx.InvalidURL, UnusableAnswer, TimeoutError) as error:
                failure = read_failure(error, timeout_s)
            else:
                connection.answered(started, self._now())
                return (answer,)
            if not failure.transient:
                connection.usage.add(**{f"met_{failure.kind}": 1})
                # The cause would show the request's headers to whoever prints the chain.
                raise connection.error(
                    failure.said, failure.hint, kind=RefusedRequestError if failure.own else ModelError
                )
            self._failures += 1
            self._first_failure_at = min(self._first_failure_at, started)
            self._last = failure
            connection.failed(failure, started, self._now(), probing=probing)
            return failure

    def _given_up(self, how: str, kind: type[ModelError] = ModelError) -> ModelError:
        last, connection = self._last, self._connection
        if last is None:
            return connection.error(
                f"The endpoint gave no answer {how}: all requests under way went unanswered",
                "see that the server runs, raise the endpoint's deadline_s, or lower its concurrency",
                transient=True,
            )
        ago = self._now() - self._first_failure_at
        since = datetime.datetime.now() - datetime.timedelta(seconds=ago)
        times = f"{self._failures} failure" + ("s" if self._failures > 1 else "")
        return connection.error(
            f"{last.said} ({times} since {since:%H:%M:%S}; given up {how})",
            f"{last.hint}, or raise the endpoint's deadline_s",
            transient=True,
            kind=kind,
        )
