"""A page is fetched once and kept; what a run used is a snapshot that can be pinned."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fundus_r1.errors import DataError, StoreError
from fundus_r1.fingerprint import sha256
from fundus_r1.retrieval.addresses import Answer, Refusal, Request
from fundus_r1.retrieval.page_rows import PageEntry
from fundus_r1.retrieval.pages import Pages
from fundus_r1.retrieval.web import Web
from fundus_r1.spec.placement import RetrievalPlace
from fundus_r1.storage.folder import FolderStore
from tests.retrieval.conftest import Time
from tests.retrieval.servers import Asked, Fault, Reply, Site, status

Serve = Callable[..., Site]
PLACE = RetrievalPlace(requests_per_s=1000, deadline_s=5)


def any_page(answer: Answer) -> None:
    """Is content with whatever comes."""


def numbered(asked: Asked) -> Reply | None:
    return None if asked.path == "/none" else (200, "text/plain", f"page {asked.path}".encode())


@pytest.fixture
def site(serve: Serve) -> Site:
    return serve(numbered)


def ask(pages: Pages, site: Site, path: str, check=any_page) -> bytes:
    return pages.get("aao", path, Request((f"{site.url}/{path}",)), check).body


def test_a_page_is_fetched_once_however_often_and_by_whom_it_is_asked_for(site: Site, store: FolderStore):
    with Web(PLACE, [site.url]) as web:
        pages = Pages(store, web)
        with ThreadPoolExecutor(8) as threads:
            bodies = set(threads.map(lambda _: ask(pages, site, "a"), range(24)))
        assert bodies == {b"page /a"}
        assert ask(Pages(store, web), site, "a") == b"page /a"
    assert len(site.pages_asked) == 1
    assert pages.counts == {"fetched": 1, "refused": 0}


def test_what_is_kept_says_where_it_came_from(site: Site, store: FolderStore):
    with Web(PLACE, [site.url]) as web:
        ask(Pages(store, web), site, "a")
    [key] = store.list("pages/aao/")
    entry = PageEntry.model_validate_json(store.get(key))
    assert (entry.page.key, entry.page.url, entry.page.media_type) == ("a", f"{site.url}/a", "text/plain")
    assert entry.page.body == sha256(b"page /a") and entry.page.size == 7 and entry.page.reason is None
    assert store.get(f"pages/bodies/{entry.page.body}") == b"page /a"


def test_a_refusal_is_kept_with_its_reason_and_not_asked_for_again(site: Site, store: FolderStore):
    def no_body(answer: Answer) -> None:
        raise Refusal("no_body", "only an abstract")

    with Web(PLACE, [site.url]) as web:
        pages = Pages(store, web)
        assert ask(pages, site, "none") == b"" and ask(pages, site, "b", no_body) == b""
        rows = [(row.source, row.page, row.reason, row.detail) for row in pages.refused]
    assert rows == [("aao", "b", "no_body", "only an abstract"), ("aao", "none", "not_found", "status 404")]
    offline = Pages(store, None)
    assert ask(offline, site, "none") == b"" and ask(offline, site, "b") == b""
    assert offline.refused == pages.refused
    assert len(site.pages_asked) == 2
    assert list(store.list("pages/bodies/")) == []


def test_what_failed_for_the_moment_is_not_kept(site: Site, store: FolderStore):
    site.faults = [Fault(status(503, Retry_After="60"))]
    with Web(PLACE, [site.url], clock=Time().clock) as web:
        with pytest.raises(DataError) as raised:
            ask(Pages(store, web), site, "a")
        assert raised.value.transient
    assert list(store.list("pages/")) == []
    with Web(PLACE, [site.url]) as web:
        assert ask(Pages(store, web), site, "a") == b"page /a"


def test_offline_a_page_that_is_not_kept_is_named(site: Site, store: FolderStore):
    with pytest.raises(DataError, match="not kept") as raised:
        ask(Pages(store, None), site, "a?b=c")
    assert raised.value.where == "aao: a?b=c"
    assert site.asked == []


def snapshot_of(store: FolderStore, site: Site, *paths: str) -> str:
    with Web(PLACE, [site.url]) as web:
        pages = Pages(store, web)
        for path in paths:
            ask(pages, site, path)
        return pages.keep_snapshot()


def test_a_snapshot_is_of_what_was_used_and_not_of_when_or_where(serve: Serve, tmp_path):
    first, second = serve(numbered), serve(numbered)
    one, two = FolderStore(tmp_path / "1"), FolderStore(tmp_path / "2")
    digest = snapshot_of(one, first, "a", "b", "none")
    assert snapshot_of(two, second, "none", "b", "a", "a") == digest
    assert one.get(f"snapshots/{digest}.json") is not None
    assert len({digest, snapshot_of(one, first, "a", "b"), snapshot_of(one, first, "a", "b", "c")}) == 3


def test_a_pinned_snapshot_is_all_there_is(site: Site, store: FolderStore):
    digest = snapshot_of(store, site, "a", "none")
    snapshot_of(store, site, "b")
    asked = len(site.asked)
    with Web(PLACE, [site.url]) as web:
        pages = Pages(store, web, digest)
        assert ask(pages, site, "a") == b"page /a" and ask(pages, site, "none") == b""
        assert pages.keep_snapshot() == digest
        with pytest.raises(DataError, match="snapshot does not hold") as raised:
            ask(pages, site, "b")
    assert raised.value.where == "aao: b"
    assert len(site.asked) == asked


def test_a_pinned_snapshot_gives_its_own_bytes_even_if_the_page_is_another_now(
    site: Site, store: FolderStore
):
    digest = snapshot_of(store, site, "a")
    [key] = store.list("pages/aao/")
    store.delete(key)
    site._answer = lambda asked: (200, "text/plain", b"another page")
    assert snapshot_of(store, site, "a") != digest
    assert ask(Pages(store, None, digest), site, "a") == b"page /a"
    assert ask(Pages(store, None), site, "a") == b"another page"


def test_a_snapshot_that_is_not_there_or_was_changed_is_an_error(site: Site, store: FolderStore):
    with pytest.raises(DataError, match="no snapshot"):
        Pages(store, None, "0" * 64)
    digest = snapshot_of(store, site, "a")
    key = f"snapshots/{digest}.json"
    value = json.loads(store.get(key))
    value["pages"][0]["body"] = "0" * 64
    store.put(key, json.dumps(value).encode())
    with pytest.raises(StoreError, match="damaged"):
        Pages(store, None, digest)


@pytest.mark.parametrize(("harm", "said"), [(lambda store, key: store.delete(key), "lost"), (
    lambda store, key: store.put(key, b"page /A"), "damaged")])  # fmt: skip
def test_a_body_that_is_lost_or_changed_is_noticed(site: Site, store: FolderStore, harm, said: str):
    snapshot_of(store, site, "a")
    [body] = store.list("pages/bodies/")
    [entry] = store.list("pages/aao/")
    harm(store, body)
    with pytest.raises(StoreError, match=said) as raised:
        ask(Pages(store, None), site, "a")
    assert entry in raised.value.hint


def test_an_entry_that_cannot_be_read_is_named(site: Site, store: FolderStore):
    snapshot_of(store, site, "a")
    [entry] = store.list("pages/aao/")
    store.put(entry, b"{")
    with pytest.raises(StoreError, match="cannot be read") as raised:
        ask(Pages(store, None), site, "a")
    assert raised.value.where == entry


def test_of_two_processes_that_fetch_a_page_at_once_one_wins_for_both(site: Site, store: FolderStore):
    with Web(PLACE, [site.url]) as web:

        def other_is_faster(answer: Answer) -> None:
            site._answer = lambda asked: (200, "text/plain", b"the other's")
            with Web(PLACE, [site.url]) as theirs:
                ask(Pages(store, theirs), site, "a")

        assert ask(Pages(store, web), site, "a", other_is_faster) == b"the other's"
    assert ask(Pages(store, None), site, "a") == b"the other's"
