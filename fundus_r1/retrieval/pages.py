"""Pages are fetched once and kept in the store; what a run used of them is a snapshot.

A page is known by its source and its request there, without host and credentials: another mirror,
port or key asks for the same page. A page that cannot be used is kept too, as the reason why, so
that a run without network does exactly what the run with it did. What failed for the moment is
not kept.

Keys: ``pages/<source>/<SHA-256 of the request>.json`` (`PageEntry`), ``pages/bodies/<SHA-256>``,
``snapshots/<digest>.json`` (`Snapshot`).
"""

from __future__ import annotations

import datetime
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fundus_r1.errors import DataError, StoreError
from fundus_r1.fingerprint import SHORT, sha256
from fundus_r1.retrieval.addresses import Answer, Refusal, Request
from fundus_r1.retrieval.page_rows import PageEntry, PageRef, Snapshot
from fundus_r1.retrieval.web import Check, Web
from fundus_r1.rows import RefusedPage
from fundus_r1.storage.protocol import Conflict, Store


@dataclass(frozen=True)
class Page:
    """A page with its body; the body of a refused one is empty."""

    ref: PageRef
    body: bytes


class Pages:
    """All pages of a run; used by several threads at once.

    Args:
        store: where pages are kept.
        web: the network; None uses kept pages alone.
        snapshot: digest of the pages that may be used; None lets all.

    Raises:
        DataError: the store has no such snapshot.
        StoreError: the snapshot is damaged.
    """

    def __init__(self, store: Store, web: Web | None, snapshot: str | None = None):
        self._store = store
        self._web = None if snapshot else web
        self._pinned = None if snapshot is None else _read_snapshot(store, snapshot)
        self._used: dict[tuple[str, str], PageRef] = {}
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self.counts: Counter[str] = Counter()
        """``fetched`` from the network, ``kept`` in the store before, ``refused``."""

    def get(self, source: str, key: str, request: Request, check: Check) -> Page:
        """One page: kept, or fetched and kept.

        Args:
            source: whose page it is.
            key: the request within the source, without host and credentials.
            request: how to ask the network for it.
            check: looks at what came before it is kept.

        Raises:
            DataError: it is not kept, and may not or cannot be fetched.
            StoreError: what the store holds is damaged.
        """
        with self._lock:
            lock = self._locks.setdefault((source, key), threading.Lock())
        with lock:
            known = self._used.get((source, key)) or self._kept(source, key)
            if known is not None:
                page = Page(known, self._body(known))
            else:
                page = self._fetched(source, key, request, check)
            self._count(page.ref, "fetched" if known is None else "kept")
        return page

    def snapshot(self) -> Snapshot:
        """The pages used so far."""
        with self._lock:
            return Snapshot(pages=tuple(self._used[place] for place in sorted(self._used)))

    def keep_snapshot(self) -> str:
        """Writes the snapshot of the pages used so far; returns its digest."""
        made = self.snapshot()
        data = made.model_dump_json(indent=1).encode()
        with suppress(Conflict):  # the same pages were used before
            self._store.put(_snapshot_key(made.digest), data, if_absent=True)
        return made.digest

    @property
    def refused(self) -> list[RefusedPage]:
        """The pages used so far that could not be, by source and request."""
        return [page.refused for page in self.snapshot().pages if page.reason is not None]

    def _count(self, ref: PageRef, how: str) -> None:
        with self._lock:
            if (ref.source, ref.key) not in self._used:
                self._used[ref.source, ref.key] = ref
                self.counts[how] += 1
                self.counts["refused"] += ref.reason is not None

    def _kept(self, source: str, key: str) -> PageRef | None:
        if self._pinned is not None:
            ref = self._pinned.get((source, key))
            if ref is None:
                raise DataError(
                    "The pinned snapshot does not hold a page that this run needs",
                    where=f"{source}: {key}",
                    hint="pin a snapshot of a run with the same sources and numbers, or none",
                )
            return ref
        data = self._store.get(_entry_key(source, key))
        if data is None:
            return None
        return _read(PageEntry, data, _entry_key(source, key)).page

    def _body(self, ref: PageRef) -> bytes:
        if ref.body is None:
            return b""
        key = f"pages/bodies/{ref.body}"
        body = self._store.get(key)
        if body is None or sha256(body) != ref.body:
            raise StoreError(
                "A kept page is lost" if body is None else "A kept page is damaged",
                where=f"{key} ({ref.source}: {ref.key})",
                hint=f"delete {_entry_key(ref.source, ref.key)}, and the page is fetched anew",
            )
        return body

    def _fetched(self, source: str, key: str, request: Request, check: Check) -> Page:
        if self._web is None:
            raise DataError(
                "A page that this run needs is not kept in the store",
                where=f"{source}: {key}",
                hint="run once with placement.retrieval.offline=false, which fetches and keeps it",
            )
        answer, reason, detail = Answer(request.urls[0], "", b""), None, ""
        try:
            answer = self._web.get(request, check)
        except Refusal as refusal:
            reason, detail = refusal.reason, refusal.detail
        ref = PageRef(
            source=source,
            key=key,
            url=answer.url,
            media_type=answer.media_type,
            body=sha256(answer.body) if reason is None else None,
            size=len(answer.body),
            reason=reason,
            detail=detail,
        )
        if ref.body is not None:
            self._store.put(f"pages/bodies/{ref.body}", answer.body)
        entry = PageEntry(page=ref, fetched=datetime.datetime.now(datetime.UTC))
        try:
            self._store.put(_entry_key(source, key), entry.model_dump_json(indent=1).encode(), if_absent=True)
        except Conflict:
            # Another process was faster; one page has one content in a store.
            first = self._kept(source, key)
            if first is not None:
                return Page(first, self._body(first))
        return Page(ref, answer.body)


def _entry_key(source: str, key: str) -> str:
    return f"pages/{source}/{sha256(key.encode())}.json"


def _snapshot_key(digest: str) -> str:
    return f"snapshots/{digest}.json"


def _read(kind: type[Any], data: bytes, key: str) -> Any:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            "An entry of the store cannot be read",
            where=key,
            hint="delete it; a page is then fetched anew, a snapshot is written by the run that made it",
        ) from error


def _read_snapshot(store: Store, digest: str) -> dict[tuple[str, str], PageRef]:
    key = _snapshot_key(digest)
    data = store.get(key)
    if data is None:
        raise DataError(
            f"The store has no snapshot {digest[:SHORT]}...",
            where="science.knowledge.snapshot",
            hint=f"copy snapshots/ and pages/ of the store where the run was made, among them {key}",
        )
    snapshot = _read(Snapshot, data, key)
    if snapshot.digest != digest:
        raise StoreError("A snapshot is damaged", where=key, hint="copy it from the store where it was made")
    return {(page.source, page.key): page for page in snapshot.pages}
