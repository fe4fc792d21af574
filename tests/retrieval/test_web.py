"""The one way to the network, against servers that misbehave."""

from __future__ import annotations

import logging
import threading
import time as real_time
from collections.abc import Callable

import pytest

from fundus_r1.errors import DataError, SpecError
from fundus_r1.retrieval.addresses import Again, Answer, Refusal, Request, netloc
from fundus_r1.retrieval.web import REDIRECTS, Web
from fundus_r1.spec.placement import RetrievalPlace
from tests.retrieval.servers import (
    Asked,
    Fault,
    Reply,
    Site,
    dripping,
    endless,
    half,
    redirect,
    reset,
    send,
    status,
)

Serve = Callable[..., Site]


def hello(asked: Asked) -> Reply | None:
    return (200, "text/html; charset=utf-8", b"hello") if asked.path.startswith("/page") else None


def any_page(answer: Answer) -> None:
    """Is content with whatever comes."""


def web(*sites: Site, clock=None, rates=None, bases: tuple[str, ...] = (), **changes: object) -> Web:
    place = RetrievalPlace.model_validate(
        {"requests_per_s": 1000.0, "timeout_s": 5.0, "deadline_s": 20.0, **changes}
    )
    return Web(place, [*(site.url for site in sites), *bases], clock=clock, rates=rates)


def get(net: Web, *urls: str, **more: object) -> Answer:
    with net:
        return net.get(Request(urls, **more), any_page)


def refusal(net: Web, *urls: str, **more: object) -> Refusal:
    with pytest.raises(Refusal) as raised:
        get(net, *urls, **more)
    return raised.value


# ---- hosts and redirects ---------------------------------------------------------------


def test_a_page_comes_with_its_address_and_type(serve: Serve):
    site = serve(hello)
    assert get(web(site), f"{site.url}/page") == Answer(f"{site.url}/page", "text/html", b"hello")


def test_a_host_that_is_not_listed_is_never_contacted(serve: Serve):
    listed, other = serve(hello), serve(hello)
    with pytest.raises(SpecError, match=other.host):
        get(web(listed), f"{other.url}/page")
    assert other.asked == []


def test_a_redirect_within_the_list_is_followed_and_one_out_of_it_is_refused(serve: Serve):
    first, second, third = serve(hello), serve(hello), serve(hello)
    first.faults = [
        Fault(redirect(f"{second.url}/page"), path="near"),
        Fault(redirect(f"{third.url}/page"), path="far"),
    ]
    assert get(web(first, hosts=[second.host]), f"{first.url}/near").url == f"{second.url}/page"
    refused = refusal(web(first, hosts=[second.host]), f"{first.url}/far")
    assert refused.reason == "redirect" and third.host in refused.detail
    assert third.asked == []


def test_a_redirect_may_be_relative(serve: Serve):
    site = serve(hello)
    site.faults = [Fault(redirect("/page/2?x=1#top"), path="old")]
    assert get(web(site), f"{site.url}/old").url == f"{site.url}/page/2?x=1"


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "http://me:you@127.0.0.1/", "http://["],
)  # fmt: skip
def test_a_redirect_to_no_web_page_is_refused(serve: Serve, target: str):
    site = serve(hello)
    site.faults = [Fault(redirect(target))]
    assert refusal(web(site), f"{site.url}/page").reason == "redirect"


def test_a_ring_of_redirects_ends(serve: Serve):
    site = serve(hello)
    site.faults = [Fault(redirect("/page"), times=99)]
    assert refusal(web(site), f"{site.url}/page").reason == "redirect"
    assert len(site.pages_asked) == REDIRECTS + 1


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "127.0.0.1/x", "http://", "http://a:b@host/", "http://host:99999999/"]
)
def test_what_is_no_address_is_an_error_of_the_spec(url: str):
    with pytest.raises(SpecError, match="address"):
        netloc(url)


def test_default_ports_and_case_do_not_matter():
    assert netloc("HTTPS://EyeWiki.org/w") == "eyewiki.org:443"
    assert netloc("http://eyewiki.org") == "eyewiki.org:80"


# ---- manners ---------------------------------------------------------------------------


def test_hosts_are_told_who_asks(serve: Serve):
    site = serve(hello)
    get(web(site, contact="someone@lab.example"), f"{site.url}/page")
    assert {asked.headers["user-agent"].partition("/")[0] for asked in site.asked} == {"fundus-r1"}
    assert "someone@lab.example" in site.asked[-1].headers["user-agent"]


def test_robots_is_read_once_and_obeyed(serve: Serve):
    site = serve(hello, robots="User-agent: *\nDisallow: /page/private\n")
    with web(site) as net:
        net.get(Request((f"{site.url}/page/1",)), any_page)
        net.get(Request((f"{site.url}/page/2",)), any_page)
        with pytest.raises(Refusal, match="robots"):
            net.get(Request((f"{site.url}/page/private",)), any_page)
        net.get(Request((f"{site.url}/page/private",), robots=False), any_page)
    assert [asked.path for asked in site.asked] == ["/robots.txt", "/page/1", "/page/2", "/page/private"]


def test_a_redirect_to_what_robots_forbids_is_not_followed(serve: Serve):
    site = serve(hello, robots="User-agent: *\nDisallow: /page/private\n")
    site.faults = [Fault(redirect("/page/private"))]
    assert refusal(web(site), f"{site.url}/page").reason == "robots"
    assert "/page/private" not in {asked.path for asked in site.asked}


def test_requests_keep_the_rate_of_their_host_and_its_crawl_delay(serve: Serve, time):
    fast, slow = serve(hello), serve(hello, robots="User-agent: *\nCrawl-delay: 3\n")
    with web(fast, slow, clock=time.clock, rates={fast.host: 10.0}, requests_per_s=2.0, deadline_s=99) as net:
        for _ in range(3):
            net.get(Request((f"{fast.url}/page",), robots=False), any_page)
        assert sum(time.waits) == pytest.approx(0.2)
        time.waits.clear()
        for _ in range(3):
            net.get(Request((f"{slow.url}/page",)), any_page)
        # robots.txt itself went at the rate of the spec
        assert sum(time.waits) == pytest.approx(0.5 + 3 + 3)


def test_retry_after_is_waited_for_and_holds_for_the_whole_host(serve: Serve, time):
    site = serve(hello)
    site.faults = [Fault(status(429, Retry_After="17"), path="page/1")]
    with web(site, clock=time.clock, deadline_s=60) as net:
        net.get(Request((f"{site.url}/page/1",), robots=False), any_page)
        assert sum(time.waits) == pytest.approx(17, abs=0.01)
        assert net.retried == 1


def test_a_wait_beyond_the_deadline_is_not_waited_for(serve: Serve, time):
    site = serve(hello)
    site.faults = [Fault(status(503, Retry_After="3600"), times=9)]
    with pytest.raises(DataError, match="asks to wait") as raised:
        get(web(site, clock=time.clock, deadline_s=60), f"{site.url}/page", robots=False)
    assert raised.value.transient
    assert sum(time.waits) < 5 and len(site.pages_asked) == 1


# ---- what passes and what does not -----------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [reset, half, *(status(code) for code in (408, 429, 500, 502, 503, 504))],
    ids=["reset", "half", "408", "429", "500", "502", "503", "504"],
)
def test_what_a_second_try_may_cure_is_tried_again(serve: Serve, time, fault):
    site = serve(hello)
    site.faults = [Fault(fault, times=3)]
    with web(site, clock=time.clock) as net:
        assert net.get(Request((f"{site.url}/page",)), any_page).body == b"hello"
        assert net.retried == 3
    # waits grow, with jitter
    waits = [wait for wait in time.waits if wait > 0.1]
    assert len(waits) == 3 and 0.5 <= waits[0] <= 1.5 and 2 <= waits[2] <= 6


def test_a_server_that_comes_up_again_costs_only_time(serve: Serve, time):
    site = serve(hello)
    port, url = site.port, f"{site.url}/page"
    net = web(site, clock=time.clock)
    site.close()
    ups = []

    def sleep(seconds: float) -> None:
        time.at += seconds
        if not ups and len(time.waits) >= 2:
            ups.append(serve(hello, port=port))
        time.waits.append(seconds)

    net._clock = type(time.clock)(now=time.clock.now, wall=time.clock.wall, sleep=sleep)
    with net:
        assert net.get(Request((url,), robots=False), any_page).body == b"hello"
    assert net.retried >= 2


def test_a_server_that_stays_down_is_a_transient_error_at_the_deadline(serve: Serve, time):
    site = serve(hello)
    site.close()
    start = time.at
    with pytest.raises(DataError, match="within 30 s") as raised:
        get(web(site, clock=time.clock, deadline_s=30.0), f"{site.url}/page", robots=False)
    assert raised.value.transient and raised.value.exit_code == 75
    assert time.at - start <= 30


def test_the_next_place_is_asked_where_one_does_not_answer_and_then_first(serve: Serve):
    first, second = serve(hello), serve(hello)
    first.faults = [Fault(status(502), times=9)]
    with web(first, second) as net:
        for page in ("page/1", "page/2"):
            answer = net.get(Request((f"{first.url}/{page}", f"{second.url}/{page}")), any_page)
            assert answer.url.startswith(second.url)
        assert net.retried == 0
    assert len(first.pages_asked) == 1


def test_an_answer_of_the_first_place_counts_even_if_it_is_no(serve: Serve):
    first, second = serve(hello), serve(hello)
    assert refusal(web(first, second), f"{first.url}/none", f"{second.url}/page").reason == "not_found"
    assert second.pages_asked == []


def test_what_the_caller_calls_garbled_is_fetched_again(serve: Serve, time):
    site, seen = serve(hello), []

    def check(answer: Answer) -> None:
        seen.append(answer.body)
        if len(seen) < 3:
            raise Again("the answer is no JSON object")

    with web(site, clock=time.clock) as net:
        net.get(Request((f"{site.url}/page",)), check)
    assert len(seen) == 3


@pytest.mark.parametrize(("code", "reason"), [(404, "not_found"), (410, "not_found"), (403, "forbidden")])
def test_a_no_is_taken_for_an_answer(serve: Serve, code: int, reason: str):
    site = serve(hello)
    site.faults = [Fault(status(code), times=9)]
    assert refusal(web(site), f"{site.url}/page").reason == reason
    assert len(site.pages_asked) == 1


@pytest.mark.parametrize("code", [400, 401, 414])
def test_a_request_that_is_wrong_is_an_error_that_trying_again_does_not_mend(serve: Serve, code: int):
    site = serve(hello)
    site.faults = [Fault(status(code, b"API key   invalid"))]
    with pytest.raises(DataError, match=f"{code}: API key invalid") as raised:
        get(web(site), f"{site.url}/page")
    assert not raised.value.transient


# ---- limits ----------------------------------------------------------------------------


def test_a_page_of_50_mb_is_cut_off_early(serve: Serve):
    sent, ended = [], threading.Event()

    def count(handler) -> None:
        write = handler.wfile.write
        handler.wfile.write = lambda data: (sent.append(len(data)), write(data))[1]
        try:
            endless(handler)
        finally:
            ended.set()

    site = serve(hello)
    site.faults = [Fault(count)]
    refused = refusal(web(site, max_bytes=1_000_000), f"{site.url}/page")
    assert refused.reason == "too_large" and "1000000" in refused.detail
    assert ended.wait(10) and sum(sent) < 20_000_000


def test_a_page_that_says_it_is_too_large_is_not_read(serve: Serve):
    site = serve(hello)
    site.faults = [Fault(lambda handler: send(handler, 200, "text/html", b"", Content_Length="50000000"))]
    assert refusal(web(site, max_bytes=1_000_000), f"{site.url}/page").reason == "too_large"


def test_a_small_page_that_unpacks_to_a_large_one_is_refused(serve: Serve):
    import gzip

    bomb = gzip.compress(b"x" * 3_000_000)
    site = serve(hello)
    site.faults = [Fault(lambda handler: send(handler, 200, "text/html", bomb, Content_Encoding="gzip"))]
    assert len(bomb) < 10_000
    assert refusal(web(site, max_bytes=1_000_000), f"{site.url}/page").reason == "too_large"


def test_a_host_that_says_nothing_is_given_up_at_the_time_out(serve: Serve):
    site = serve(hello)
    silence = threading.Event()
    site.faults = [Fault(lambda handler: silence.wait(10), times=9)]
    try:
        with pytest.raises(DataError, match=r"nothing came for 0\.2 s"):
            get(web(site, timeout_s=0.2, deadline_s=0.6), f"{site.url}/page", robots=False)
    finally:
        silence.set()


def test_a_host_that_drips_is_given_up_at_the_deadline(serve: Serve):
    site = serve(hello)
    site.faults = [Fault(dripping(8), times=9)]
    start = real_time.monotonic()
    with pytest.raises(DataError, match=r"within 0\.5 s"):
        get(web(site, timeout_s=5.0, deadline_s=0.5), f"{site.url}/page", robots=False)
    assert real_time.monotonic() - start < 6  # not the eight seconds of the dripping


# ---- secrets ---------------------------------------------------------------------------

KEY = "k3y-that-nobody-may-see"


def test_a_secret_reaches_its_host_and_nothing_else(serve: Serve, caplog: pytest.LogCaptureFixture):
    other = serve(lambda asked: (200, "text/plain", str(asked.parameters).encode()))
    site = serve(lambda asked: (200, "text/plain", str(asked.parameters).encode()))
    site.faults = [Fault(redirect(f"{other.url}/page?a=1&api_key={KEY}"), path="away")]
    with caplog.at_level(logging.DEBUG), web(site, other) as net:
        for path in ("here", "away"):
            answer = net.get(Request((f"{site.url}/{path}?a=1",), secrets={"api_key": KEY}), any_page)
            assert KEY not in answer.url and KEY.encode() not in answer.body
    assert {asked.parameters.get("api_key") for asked in site.pages_asked} == {KEY}
    assert {asked.parameters.get("api_key") for asked in other.pages_asked} == {None}
    assert "here?a=1" in caplog.text and KEY not in caplog.text


def test_a_secret_is_in_no_error(serve: Serve, time):
    site = serve(hello)
    site.faults = [
        Fault(lambda h: send(h, 400, "text/plain", f"bad key {KEY}".encode())),
        Fault(reset, times=99),
    ]
    for _ in range(2):
        with pytest.raises(DataError) as raised, web(site, clock=time.clock) as net:
            net.get(Request((f"{site.url}/page",), secrets={"api_key": KEY}, robots=False), any_page)
        chain = repr(raised.value) + str(raised.value) + repr(raised.value.__cause__)
        assert KEY not in chain
