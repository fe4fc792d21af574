"""The one way to the network: listed hosts, limits of size and time, polite, patient.

The rule: an answer that will be the same tomorrow (a page, "not found", "too large") is returned,
one that a second try may cure (no connection, a time-out, half an answer, 408, 429, 5xx) is tried
again with growing, jittered waits until the deadline, and then is a transient error. Redirects
are followed here, hop by hop, so that none leads to a host that is not listed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urljoin

from fundus_r1.errors import DataError, SpecError
from fundus_r1.retrieval.addresses import Again, Answer, Refusal, Request, netloc
from fundus_r1.retrieval.politeness import ROBOTS_BYTES, Clock, Rhythm, Robots, retry_after
from fundus_r1.retrieval.transport import Reply, Transport
from fundus_r1.spec.placement import RetrievalPlace

Check = Callable[[Answer], None]
"""Raises `Refusal` for a page that will never do, `Again` for one that is no answer of its service."""

REDIRECTS = 5
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Seconds before a second try, and before any."""


class Web:
    """Fetches pages; used by several threads at once.

    Args:
        place: limits, contact and hosts.
        bases: addresses whose hosts may be contacted, beside ``place.hosts``.
        rates: ``host:port`` -> requests a second, where that is not ``place.requests_per_s``.
        clock: where time comes from.
    """

    def __init__(
        self,
        place: RetrievalPlace,
        bases: Sequence[str],
        *,
        rates: Mapping[str, float] | None = None,
        clock: Clock | None = None,
    ):
        self._place = place
        self._hosts = {host for base in bases for host in _with_both_schemes(netloc(base))}
        for host in place.hosts:
            self._hosts |= {host.lower()} if ":" in host else {f"{host.lower()}:80", f"{host.lower()}:443"}
        self._rates = rates or {}
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._rhythms: dict[str, Rhythm] = {}
        self._robots: dict[str, Robots] = {}
        self._robots_locks: dict[str, threading.Lock] = {}
        self._failing: set[str] = set()
        self.retried = 0
        """Requests that had to be sent again."""
        self._transport = Transport(place.timeout_s, place.contact)

    def get(self, request: Request, check: Check) -> Answer:
        """The page, or why there is none.

        Args:
            request: which page.
            check: looks at what came.

        Raises:
            Refusal: the page is not there, not allowed, too large, of no use, or leads elsewhere.
            DataError: the host refused the request itself, or did not answer before the deadline (transient).
            SpecError: the page's host is not listed.
        """
        for url in request.urls:
            self._check_listed(url)
        until = self._clock.now() + self._place.deadline_s
        wait = FIRST_WAIT_S
        while True:
            failed: list[Again] = []
            for url in sorted(request.urls, key=lambda url: netloc(url) in self._failing):
                try:
                    answer = self._follow(url, request, until)
                    check(answer)
                except Again as again:
                    failed.append(again)
                    self._failing.add(netloc(url))
                else:
                    self._failing.discard(netloc(url))
                    return answer
            pause = wait * random.uniform(0.5, 1.5)
            if all(again.hopeless for again in failed) or self._clock.now() + pause >= until:
                raise self._given_up(request.urls, failed)
            self._clock.sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT_S)
            with self._lock:
                self.retried += 1

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- one try -----------------------------------------------------------------------

    def _follow(self, url: str, request: Request, until: float) -> Answer:
        first = netloc(url)
        for _ in range(REDIRECTS + 1):
            if request.robots and not self._rules(url, until).allows(url):
                raise Refusal("robots", f"the robots.txt of {netloc(url)} asks not to fetch this page")
            secrets = request.secrets if netloc(url) == first else {}
            reply = self._ask(url, secrets, self._place.max_bytes, until)
            target = reply.headers.get("location")
            if not (300 <= reply.status < 400 and target):
                return self._judged(url, reply, secrets)
            url = _without(request.secrets, self._target(url, target))
        raise Refusal("redirect", f"more than {REDIRECTS} redirects")

    def _target(self, url: str, target: str) -> str:
        try:
            there = urljoin(url, target).partition("#")[0]
            host = netloc(there)
        except (ValueError, SpecError):
            raise Refusal("redirect", "it redirects to something that is no http address") from None
        if host not in self._hosts:
            raise Refusal(
                "redirect", f"it redirects to {host}, which placement.retrieval.hosts does not list"
            )
        if url.startswith("https:") and not there.startswith("https:"):
            raise Refusal("redirect", f"it redirects from https to http at {host}")
        return there

    def _judged(self, url: str, reply: Reply, secrets: Mapping[str, str]) -> Answer:
        # A service may repeat what it was asked, and pages are kept.
        body = reply.body
        for secret in secrets.values():
            body = body.replace(secret.encode(), b"***")
        match reply.status:
            case 200 if reply.cut:
                raise Refusal("too_large", f"more than {self._place.max_bytes} bytes")
            case 200:
                media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
                return Answer(url, media_type, body)
            case 404 | 410:
                raise Refusal("not_found", f"status {reply.status}")
            case 403 | 451:
                raise Refusal("forbidden", f"status {reply.status}")
        said = " ".join(body[:200].decode("utf-8", "replace").split()) or "(nothing)"
        raise DataError(
            f"The host refused the request with status {reply.status}: {said}",
            where=url,
            hint="check the addresses and keys in placement.retrieval, and what the service demands",
        )

    def _ask(self, url: str, secrets: Mapping[str, str], max_bytes: int, until: float) -> Reply:
        """One request to one host, when it is its turn.

        Raises:
            Again: there is no answer, or one that a second try may better.
        """
        rhythm = self._rhythm(netloc(url))
        if not rhythm.wait(until):
            raise Again(f"{netloc(url)} asks to wait for longer", hopeless=True)
        left = until - self._clock.now()
        if left <= 0:
            raise Again(f"the turn at {netloc(url)} came too late", hopeless=True)
        reply = self._transport.send(url, secrets, max_bytes, left)
        if reply.status in _TRANSIENT:
            wait = retry_after(reply.headers.get("retry-after"), self._clock.wall())
            if wait is not None:
                rhythm.hold(wait)
            raise Again(f"status {reply.status}")
        return reply

    def _rhythm(self, host: str) -> Rhythm:
        with self._lock:
            rate = self._rates.get(host, self._place.requests_per_s)
            return self._rhythms.setdefault(host, Rhythm(rate, self._clock))

    def _rules(self, url: str, until: float) -> Robots:
        host = netloc(url)
        with self._lock:
            lock = self._robots_locks.setdefault(host, threading.Lock())
        with lock:
            if host not in self._robots:
                self._robots[host] = Robots(self._robots_text(url, until))
                self._rhythm(host).slow_to(self._robots[host].crawl_delay_s)
            return self._robots[host]

    def _robots_text(self, url: str, until: float) -> str | None:
        """The host's robots.txt; None where it has none, which RFC 9309 reads as "everything"."""
        there = urljoin(url, "/robots.txt")
        for _ in range(REDIRECTS + 1):
            try:
                reply = self._ask(there, {}, ROBOTS_BYTES, until)
                if 300 <= reply.status < 400 and "location" in reply.headers:
                    there = self._target(there, reply.headers["location"])
                    continue
            except Refusal:
                return None
            return reply.body.decode("utf-8", "replace") if reply.status == 200 else None
        return None

    def _check_listed(self, url: str) -> None:
        if netloc(url) not in self._hosts:
            raise SpecError(
                f"The host {netloc(url)} is not listed",
                where=url.partition("?")[0],
                hint="add it to placement.retrieval.hosts if it may be contacted",
            )

    def _given_up(self, urls: Sequence[str], failed: Sequence[Again]) -> DataError:
        why = "; ".join(dict.fromkeys(str(again) for again in failed))
        return DataError(
            f"The page did not come within {self._place.deadline_s:g} s: {why}",
            where=" or ".join(urls),
            hint="run it again, pages that came are kept; or raise placement.retrieval.deadline_s",
            transient=True,
        )


def _with_both_schemes(host: str) -> set[str]:
    """A host that is listed at the port of http or https may answer at both."""
    name, _, port = host.rpartition(":")
    return {f"{name}:80", f"{name}:443"} if port in ("80", "443") else {host}


def _without(names: Iterable[str], url: str) -> str:
    """An address without some parameters: a host may repeat what it was sent when it redirects."""
    address, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0] not in set(names)]
    return f"{address}?{'&'.join(kept)}" if query else url
