"""How many requests are under way at once: as many as the endpoint takes well, and no more.

The rule is additive increase, multiplicative decrease. The limit begins at half of what is allowed, and
doubles with every round of answers until it is first cut; afterwards it grows by one a round. An endpoint
that says it is busy (429, 503) or lets a request time out halves it, once a round. Where answers take three
times as long as they do at best, the limit is cut by a quarter, but not below twice what the measured
throughput needs at the best latency (Little's law); if throughput falls with it, the cut is taken back and
that latency is the new best, because then it was the work that grew, not the queue.
"""

from __future__ import annotations

import asyncio
from collections import deque

_START = 8
"""Requests at once that no endpoint is spared at the beginning, if so many are allowed."""
_SLOW = 3.0
_ROUND = 16
"""Answers that are averaged, at least."""


class Limit:
    """The number itself; pure but for the time, which is given.

    Args:
        most: what it may grow to.
    """

    def __init__(self, most: int):
        self._most = float(most)
        self._limit = float(min(most, max(_START, most // 2)))
        self._doubling = True
        self._cut_at = float("-inf")
        self._best: float | None = None
        self._before: tuple[float, float] | None = None
        """Limit and throughput before a cut for latency that is still to be judged."""
        self._round_from: float | None = None
        self._answers = 0
        self._latency = 0.0

    def __int__(self) -> int:
        return int(self._limit)

    def answered(self, started: float, now: float, *, full: bool) -> None:
        """A request was answered.

        Args:
            started: when it was sent.
            full: whether the limit was reached while it was under way; only then may it grow.
        """
        if full:
            self._grow(1.0 if self._doubling else 1.0 / self._limit)
        if self._round_from is None:
            self._round_from = started
        self._answers += 1
        self._latency += now - started
        # The very first answers have not queued behind each other yet: they show the best latency.
        if self._answers >= (_ROUND if self._best is None else max(_ROUND, self._limit)):
            seconds = max(now - self._round_from, 1e-9)
            self._judge_round(self._latency / self._answers, self._answers / seconds)
            self._round_from, self._answers, self._latency = now, 0, 0.0

    def busy(self, started: float, now: float) -> None:
        """The endpoint had too much to do for a request sent at `started`."""
        if started < self._cut_at:
            return  # it was sent before the last cut, and says nothing about what came after
        self._limit = max(1.0, self._limit / 2)
        self._doubling = False
        self._cut_at = now
        self._before = None

    def restart(self) -> None:
        """The endpoint is back after it was away: begins carefully, and finds its bound again."""
        self._limit = min(self._limit, max(float(_START), self._most // 4))
        self._doubling = True
        self._before = None

    def _grow(self, by: float) -> None:
        self._limit = min(self._most, self._limit + by)

    def _judge_round(self, latency: float, throughput: float) -> None:
        if self._before is not None:
            limit, before = self._before
            self._before = None
            if throughput < 0.9 * before:
                self._limit, self._best = min(limit, self._most), latency
                return
        if self._best is None or latency < self._best:
            self._best = latency
        if latency > _SLOW * self._best:
            needed = 2.0 * throughput * self._best
            lower = max(1.0, min(self._limit, max(0.75 * self._limit, needed)))
            if lower < self._limit:
                self._before = (self._limit, throughput)
                self._limit, self._doubling = lower, False


class Limiter:
    """Lets requests through up to a `Limit`; belongs to one event loop.

    Args:
        most: requests at once, at most.
    """

    def __init__(self, most: int):
        self.limit = Limit(most)
        self._under_way = 0
        self._full_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self, *, first: bool) -> None:
        """Waits for a turn.

        Args:
            first: before those that have not been tried yet.
        """
        if not self._waiting and self._under_way < int(self.limit):
            self._enter()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        self.wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the turn came at the very moment
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _enter(self) -> None:
        self._under_way += 1
        if self._under_way >= int(self.limit):
            self._full_at = asyncio.get_running_loop().time()

    def release(self) -> None:
        """Gives a turn back."""
        self._under_way -= 1
        self.wake()

    def wake(self) -> None:
        """Lets in whom the limit has room for."""
        while self._waiting and self._under_way < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._enter()
                turn.set_result(None)

    def was_full(self, since: float) -> bool:
        """Whether the limit was reached at some time since `since`."""
        return self._full_at >= since or self._under_way >= int(self.limit)
