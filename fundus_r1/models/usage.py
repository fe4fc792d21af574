"""What asking a model took: requests, tries, tokens, and what they cost."""

from __future__ import annotations

import threading
from collections import Counter

from fundus_r1.spec.placement import Endpoint


class Usage:
    """Counts of one opened model; any thread may add to it.

    Names of counts:

    - ``requests``: answered by the model; ``cached``: answered from the store, the model was not asked;
    - ``sent``: completions that arrived; ``retried``: further tries after a failure; ``repaired``: answers
      against their schema, or empty, that were asked for again; ``refilled``: answers asked for one by one
      because a server gave fewer than the ``n`` of a request;
    - ``refused``: requests that the endpoint refused by themselves and that got an empty answer;
    - ``invalid``: texts still against their schema, or empty, that were handed on; ``empty``: texts without a
      character; ``foreign``: texts mostly in another script than the prompts';
    - ``prompt_tokens`` and ``completion_tokens``, where the server tells them;
    - ``met_<what>`` for each kind of failure met on the way (``met_429``, ``met_timeout``, ...; see
      `models.failures`), ``outages``: times the endpoint was away for all requests;
    - ``cache_failed``: look-ups and writes of the store's cache that failed, ``cache_damaged``: kept answers
      that were not whole and were asked for again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, **counts: int) -> None:
        """Adds to counts."""
        with self._lock:
            self._counts.update(counts)

    def counts(self) -> dict[str, int]:
        """All counts that are not zero, sorted by name."""
        with self._lock:
            return {name: n for name, n in sorted(self._counts.items()) if n}

    def usd(self, endpoint: Endpoint | None) -> float | None:
        """What the tokens cost at an endpoint's prices; None where it states none."""
        if endpoint is None:
            return None
        prices = (endpoint.usd_per_million_prompt_tokens, endpoint.usd_per_million_completion_tokens)
        if prices == (None, None):
            return None
        counted = self.counts()
        tokens = (counted.get("prompt_tokens", 0), counted.get("completion_tokens", 0))
        return sum(n * (price or 0.0) for n, price in zip(tokens, prices, strict=True)) / 1e6
