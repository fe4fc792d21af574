"""A circuit breaker: an endpoint that is away is asked by one request at a time, and not more often.

The rule: after several failures with no answer between them the circuit is open. Then all requests
wait, but one that tries; the pause before each such try doubles, up to a bound. One answer closes it.
Pure but for the time, which is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How failed requests are tried again."""

    first_s: float = 0.5
    """Seconds before the second try of a request, and before the first try of an open circuit; doubled
    after each further failure."""
    most_s: float = 15.0
    """Seconds between two tries at most, unless the endpoint itself asks for more."""
    tries: int = 6
    """Failures after which a request is given up although the endpoint goes on answering others."""
    open_after: int = 8
    """Failures without an answer in between that open the circuit."""

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures, without jitter."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 32))


class Breaker:
    """The state of one endpoint. Times are seconds of one clock.

    Args:
        pace: when it opens and how long it waits.
    """

    def __init__(self, pace: Pace):
        self._pace = pace
        self._probes = 0
        self._probe_at = 0.0
        self._probing = False
        self.open = False
        self.failures = 0
        """Since the last answer."""
        self.since: float | None = None
        """When the first of them happened."""

    def failed(self, now: float, *, probing: bool = False) -> bool:
        """A try failed; whether that opened the circuit.

        Args:
            probing: it was the one try of the open circuit, and not one of before it opened.
        """
        self.failures += 1
        self.since = now if self.since is None else self.since
        opens = not self.open and self.failures >= self._pace.open_after
        if opens:
            self.open, self._probes = True, 0
        if opens or probing:
            self._probing = False
            self._probes += 1
            self._probe_at = now + self._pace.wait_s(self._probes)
        return opens

    def answered(self) -> bool:
        """A try was answered; whether that closed the circuit."""
        closes = self.open
        self.open = self._probing = False
        self.failures, self.since = 0, None
        return closes

    def given_up(self) -> None:
        """The one that tried was cancelled: another may try at once."""
        self._probing = False

    def wait_s(self, now: float) -> float:
        """Seconds until this request may try; 0 lets it try now, infinity while another is trying."""
        if not self.open:
            return 0.0
        if self._probing:
            return math.inf
        if now < self._probe_at:
            return self._probe_at - now
        self._probing = True
        return 0.0
