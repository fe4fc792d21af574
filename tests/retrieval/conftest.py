"""Fixtures of retrieval: servers on loopback and a clock that does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fundus_r1.retrieval.politeness import Clock
from tests.retrieval.servers import Library, Site


@pytest.fixture
def library() -> Iterator[Library]:
    with Library() as library:
        yield library


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """Starts `Site`s; they end with the test."""
    sites: list[Site] = []

    def start(*args: object, **more: object) -> Site:
        sites.append(Site(*args, **more))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


class Time:
    """Time that passes only when somebody waits for it."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.waits: list[float] = []
        self.clock = Clock(now=lambda: self.at, wall=lambda: 1_700_000_000 + self.at, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds


@pytest.fixture
def time() -> Time:
    return Time()
