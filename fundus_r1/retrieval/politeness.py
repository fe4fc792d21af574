"""How a host is asked politely: not too often, not where it says no, and later when it says later.

Each host has a rhythm of its own, which all threads share. A host's ``Retry-After`` holds for all
requests to it; its ``robots.txt`` (RFC 9309) is read once, and a ``Crawl-delay`` slows its rhythm.
"""

from __future__ import annotations

import datetime
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.robotparser import RobotFileParser

AGENT = "fundus-r1"
"""The name that robots.txt files may address."""
ROBOTS_BYTES = 512_000
"""More of a robots.txt is not read (RFC 9309, Sec. 2.5 demands at least 500 KiB)."""
LONGEST_CRAWL_DELAY_S = 60.0


@dataclass(frozen=True)
class Clock:
    """Where time comes from; tests have one that does not wait."""

    now: Callable[[], float] = time.monotonic
    """Seconds, never going back."""
    wall: Callable[[], float] = time.time
    """Seconds since 1970, for dates that hosts name."""
    sleep: Callable[[float], None] = time.sleep


class Rhythm:
    """Hands out the moments at which requests to one host may start.

    Args:
        per_s: requests a second.
        clock: where time comes from.
    """

    def __init__(self, per_s: float, clock: Clock):
        self._every = 1 / per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next = -math.inf

    def slow_to(self, seconds: float) -> None:
        """Leaves at least so many seconds between two requests."""
        with self._lock:
            self._every = max(self._every, seconds)

    def hold(self, seconds: float) -> None:
        """No request starts within the next `seconds`."""
        with self._lock:
            self._next = max(self._next, self._clock.now() + seconds)

    def wait(self, until: float) -> bool:
        """Waits for this caller's turn; False, at once, if that comes after the moment `until`."""
        with self._lock:
            turn = max(self._next, self._clock.now())
            if turn > until:
                return False
            self._next = turn + self._every
        pause = turn - self._clock.now()
        if pause > 0:
            self._clock.sleep(pause)
        return True


def retry_after(value: str | None, wall: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, or None where it says nothing readable.

    Args:
        value: the header: seconds, or a date.
        wall: now, in seconds since 1970.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return max(0.0, date.timestamp() - wall)
    except (ValueError, OverflowError):
        return None


class Robots:
    """What one host's robots.txt allows.

    Args:
        text: the file, or None where the host has none, which allows everything.
    """

    def __init__(self, text: str | None):
        self._rules = RobotFileParser()
        # Without a time of reading the parser refuses everything.
        self._rules.modified()
        self._rules.parse((text or "").splitlines())

    def allows(self, url: str) -> bool:
        return self._rules.can_fetch(AGENT, url)

    @property
    def crawl_delay_s(self) -> float:
        """Seconds between requests that the host asks for; 0 where it asks for none."""
        delay = self._rules.crawl_delay(AGENT)
        return min(float(delay), LONGEST_CRAWL_DELAY_S) if delay else 0.0
