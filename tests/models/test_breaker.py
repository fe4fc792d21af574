"""The circuit breaker, by given times."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.models.breaker import Breaker, Pace

PACE = Pace(first_s=1.0, most_s=8.0, open_after=3)


def test_it_opens_after_several_failures_with_no_answer_between() -> None:
    breaker = Breaker(PACE)
    assert [breaker.failed(now) for now in (1.0, 2.0)] == [False, False]
    breaker.answered()
    assert [breaker.failed(now) for now in (3.0, 4.0, 5.0)] == [False, False, True]
    assert breaker.open and breaker.failures == 3 and breaker.since == 3.0


def test_one_tries_while_the_others_wait_and_pauses_double() -> None:
    breaker = Breaker(PACE)
    for _ in range(3):
        breaker.failed(0.0)
    now, pauses = 0.0, []
    for _ in range(6):
        pauses.append(breaker.wait_s(now))
        now += pauses[-1]
        assert breaker.wait_s(now) == 0.0
        assert breaker.wait_s(now) == math.inf
        breaker.failed(now)  # one that was under way before
        assert breaker.wait_s(now) == math.inf
        breaker.failed(now, probing=True)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert breaker.answered()
    assert breaker.wait_s(now) == 0.0 and not breaker.open and breaker.since is None


def test_who_gives_up_leaves_the_try_to_another() -> None:
    breaker = Breaker(PACE)
    for _ in range(3):
        breaker.failed(0.0)
    assert breaker.wait_s(1.0) == 0.0
    breaker.given_up()
    assert breaker.wait_s(1.0) == 0.0


@given(st.lists(st.sampled_from(["ask", "failed", "answered", "given_up"]), max_size=60))
def test_never_do_two_try_an_open_circuit_at_once(events: list[str]) -> None:
    breaker, now, trying = Breaker(PACE), 0.0, 0
    for event in events:
        now += 3.0
        was_open = breaker.open
        if event == "ask":
            trying += breaker.wait_s(now) == 0.0
        elif trying:
            trying -= 1
            if event == "failed":
                breaker.failed(now, probing=was_open)
            elif event == "answered":
                breaker.answered()
            else:
                breaker.given_up()
        if not breaker.open or not was_open:
            trying = 0  # those of before it opened are no probes
        assert trying <= 1
