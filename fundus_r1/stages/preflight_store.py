"""Whether a run's store does what the stages rely on: it is tried with an object that is removed again.

Without conditional writes two workers could take the same part, so a store that ignores the condition is
refused here. Signatures of S3 hold for some minutes, so clocks that differ more are found here too.
"""

from __future__ import annotations

import datetime
import email.utils
import os
import uuid

import certifi
import urllib3

from fundus_r1.cluster.check import Check, looked
from fundus_r1.errors import FundusError
from fundus_r1.spec.placement import Placement, StorePlace
from fundus_r1.storage import open_store
from fundus_r1.storage.protocol import Conflict, Store

_PREFIX = ".preflight/"
_TIMEOUT_S = 10.0
_SKEW_S = 300.0
"""Seconds by which clocks may differ: S3's signatures bear fifteen minutes, of which some are kept back."""


def check_store(placement: Placement) -> tuple[list[Check], Store | None]:
    """What the store can do; and the store itself, if it can be opened."""
    place, what = placement.store, "store"
    if placement.cluster is None and not place.is_placed:
        return [Check(what, "a place", "none: fundus-r1 run makes one in its folder", True)], None
    if placement.cluster is not None and place.kind == "folder":
        todo = "set placement.store.kind to s3, with endpoint and bucket"
        return [Check(what, "S3, which all pods reach", "a folder", False, todo)], None
    # Asked without credentials, so it is known even where those are refused because of it.
    clocks = [_clocks(place)] if place.kind == "s3" and place.endpoint else []
    try:
        store = open_store(place)
    except FundusError as error:
        found = f"{error.what} ({error.where})" if error.where else error.what
        return [Check(what, "can be opened", found, False, error.hint), *clocks], None
    checks = [Check(what, "can be opened", store.uri, True)]
    checks += looked(f"{what}: objects", "put, get, conditional put, delete", lambda: _tried(store))
    return [*checks, *clocks], store


def _tried(store: Store) -> list[Check]:
    what, key, body = "store: objects", f"{_PREFIX}{uuid.uuid4().hex}", b"fundus-r1 preflight"
    first = store.put(key, body)
    try:
        whole = store.get(key) == body
        honoured = {
            "If-None-Match": _refuses(store, key, if_absent=True),
            "If-Match": _refuses(store, key, if_match=f"not-{first}"),
        }
    finally:
        store.delete(key)
    removed = store.get(key) is None
    ignored = [name for name, found in honoured.items() if not found]
    checks = [
        Check(
            what,
            "put, get, delete",
            "done" if whole and removed else "what was read is not what was written, or stays when removed",
            whole and removed,
            "" if whole and removed else "take another store, or look whether a cache stands before it",
        )
    ]
    todo = "workers would take each other's parts: take a store that knows conditional writes (or update it)"
    told = f"ignores {' and '.join(ignored)}" if ignored else "honoured"
    conditional = Check("store: conditional put", "honoured", told, not ignored, todo if ignored else "")
    return [*checks, conditional]


def _refuses(store: Store, key: str, *, if_absent: bool = False, if_match: str | None = None) -> bool:
    try:
        store.put(key, b"must not be written", if_absent=if_absent, if_match=if_match)
    except Conflict:
        return True
    return False


def _clocks(place: StorePlace) -> Check:
    what, needed = "store: clock", f"within {_SKEW_S / 60:.0f} min of this machine's"
    trusted = os.environ.get("SSL_CERT_FILE") or certifi.where()
    try:
        with urllib3.PoolManager(ca_certs=trusted, timeout=_TIMEOUT_S, retries=False) as http:
            answer = http.request("HEAD", str(place.endpoint))
    except (urllib3.exceptions.HTTPError, ValueError):
        return Check(what, needed, "not known: it does not answer", None, "see the row of the store")
    try:
        told = email.utils.parsedate_to_datetime(answer.headers["Date"])
    except (KeyError, ValueError):
        return Check(what, needed, "not known: it does not tell its time", None)
    skew_s = (datetime.datetime.now(datetime.UTC) - told).total_seconds()
    found = f"{abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead'}"
    good = abs(skew_s) < _SKEW_S
    return Check(what, needed, found, good, "" if good else "set the clocks right (NTP) here and there")
