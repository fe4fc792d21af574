"""The bound on requests at once follows what the endpoint takes; by simulated time."""

from __future__ import annotations

import asyncio
import contextlib
import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.models.limiter import Limit, Limiter


def simulate(most: int, requests: int, latency_s: float, servers: int) -> tuple[Limit, float, int]:
    """An endpoint that computes `servers` requests at once and queues the others.

    Returns:
        The limit, the seconds that all took, and the most that were under way.
    """
    limit, now, left, most_under_way = Limit(most), 0.0, requests, 0
    under_way: list[tuple[float, float]] = []
    free = [0.0] * servers
    while left or under_way:
        while left and len(under_way) < int(limit):
            heapq.heapify(free)
            ends = max(now, heapq.heappop(free)) + latency_s
            heapq.heappush(free, ends)
            heapq.heappush(under_way, (ends, now))
            left -= 1
        most_under_way = max(most_under_way, len(under_way))
        full = len(under_way) >= int(limit)
        now, started = heapq.heappop(under_way)
        limit.answered(started, now, full=full)
    return limit, now, most_under_way


def test_an_endpoint_that_takes_all_soon_gets_all() -> None:
    limit, seconds, most = simulate(64, 2000, 0.2, servers=1000)
    assert int(limit) == most == 64
    assert seconds <= 1.06 * 2000 * 0.2 / 64


def test_a_queue_at_the_endpoint_is_kept_short_without_loss_of_throughput() -> None:
    limit, seconds, _ = simulate(256, 4000, 0.2, servers=16)
    assert int(limit) < 80
    assert seconds <= 1.05 * 4000 * 0.2 / 16


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0.01, 5))
def test_the_limit_never_costs_throughput(most: int, servers: int, latency_s: float) -> None:
    requests = 40 * min(most, servers) + most
    _, seconds, under_way = simulate(most, requests, latency_s, servers)
    assert under_way <= most
    assert seconds <= 1.25 * requests * latency_s / min(most, servers) + 4 * latency_s


def test_work_that_grows_is_no_queue() -> None:
    limit, now = Limit(64), 0.0
    for latency in [0.1] * 30 + [1.0] * 60:
        # As many as the limit allows are answered at the same time, whatever their number.
        for _ in range(int(limit)):
            limit.answered(now, now + latency, full=True)
        now += latency
    assert int(limit) >= 48


def test_a_busy_endpoint_halves_it_once_a_round_and_down_to_one() -> None:
    limit = Limit(64)
    for _ in range(32):
        limit.busy(started=1.0, now=2.0)
    assert int(limit) == 16
    for second in range(3, 20):
        limit.busy(started=float(second), now=float(second) + 0.5)
    assert int(limit) == 1


def test_after_a_cut_it_grows_by_one_a_round() -> None:
    limit, now = Limit(64), 1.0
    limit.busy(0.0, now)
    for expected in (17, 18, 19):
        now += 1.0
        for _ in range(int(limit) + 1):
            limit.answered(now, now + 0.1, full=True)
        assert int(limit) == expected


def test_who_is_cancelled_takes_no_turn_with_him() -> None:
    async def scenario() -> None:
        limiter = Limiter(2)
        await limiter.acquire(first=False)
        await limiter.acquire(first=False)
        waiting = [asyncio.create_task(limiter.acquire(first=False)) for _ in range(4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        limiter.release()
        waiting[1].cancel()  # at the moment at which the turn was given to it
        await asyncio.sleep(0)
        limiter.release()
        async with asyncio.timeout(1):
            await asyncio.gather(*waiting[2:])
        for task in waiting[:2]:
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())


def test_who_was_tried_before_comes_first() -> None:
    async def scenario() -> list[str]:
        limiter, order = Limiter(1), []
        await limiter.acquire(first=False)

        async def turn(name: str, first: bool) -> None:
            await limiter.acquire(first=first)
            order.append(name)
            limiter.release()

        tasks = [asyncio.create_task(turn(name, name == "again")) for name in ("new", "newer", "again")]
        await asyncio.sleep(0)
        limiter.release()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()) == ["again", "new", "newer"]
