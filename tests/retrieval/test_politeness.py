"""Rhythm, Retry-After and robots.txt."""

from __future__ import annotations

from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.retrieval.politeness import LONGEST_CRAWL_DELAY_S, Rhythm, Robots, retry_after


def test_requests_start_a_beat_apart(time):
    rhythm = Rhythm(4.0, time.clock)
    starts = []
    for _ in range(5):
        assert rhythm.wait(until=time.at + 100)
        starts.append(time.at)
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([0.25] * 4)


def test_a_host_that_was_left_alone_gives_no_burst(time):
    rhythm = Rhythm(2.0, time.clock)
    rhythm.wait(until=time.at + 9)
    time.at += 60
    for _ in range(3):
        rhythm.wait(until=time.at + 9)
    assert sum(time.waits) == pytest.approx(1.0)


def test_a_turn_beyond_the_deadline_is_refused_at_once(time):
    rhythm = Rhythm(1.0, time.clock)
    rhythm.hold(30)
    assert not rhythm.wait(until=time.at + 10)
    assert time.waits == []
    assert rhythm.wait(until=time.at + 31)
    assert time.waits == [pytest.approx(30)]


def test_a_crawl_delay_slows_and_never_quickens(time):
    rhythm = Rhythm(0.5, time.clock)
    rhythm.slow_to(1.0)
    rhythm.wait(until=time.at + 9)
    rhythm.wait(until=time.at + 9)
    assert sum(time.waits) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("3", 3.0), (" 120 ", 120.0), ("soon", None), ("-5", None), ("", None), ("1.5", None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None):
    assert retry_after(value, wall=0.0) == seconds


def test_retry_after_as_a_date():
    now = 1_700_000_000.0
    assert retry_after(formatdate(now + 90, usegmt=True), now) == pytest.approx(90, abs=1)
    assert retry_after(formatdate(now - 90, usegmt=True), now) == 0.0


@given(st.text())
def test_any_retry_after_is_seconds_or_nothing(value: str):
    found = retry_after(value, wall=0.0)
    assert found is None or found >= 0


def test_robots_names_us_or_everybody():
    robots = Robots(
        "User-agent: fundus-r1\nDisallow: /secret/\nCrawl-delay: 7\n\nUser-agent: *\nDisallow: /\n"
    )
    assert robots.allows("https://x.example/page") and not robots.allows("https://x.example/secret/page")
    assert robots.crawl_delay_s == 7
    assert not Robots("User-agent: *\nDisallow: /w/\n").allows("https://x.example/w/api.php?a=b")
    assert Robots("User-agent: other\nDisallow: /\n").allows("https://x.example/w/api.php")


def test_no_robots_allows_everything_and_a_mad_delay_is_capped():
    assert Robots(None).allows("https://x.example/w/api.php") and Robots("<html>?</html>").allows(
        "https://x.example/"
    )
    assert Robots("User-agent: *\nCrawl-delay: 86400").crawl_delay_s == LONGEST_CRAWL_DELAY_S
