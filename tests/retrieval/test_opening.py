"""Whom a spec lets the sources ask."""

from __future__ import annotations

from fundus_r1.retrieval.opening import open_web
from fundus_r1.spec.placement import RetrievalPlace
from fundus_r1.spec.science import KnowledgeScience


def asks(snapshot: str | None, **place: bool) -> bool:
    science = KnowledgeScience(sources=("eyewiki",), snapshot=snapshot)
    web = open_web(science, RetrievalPlace.model_validate(place))
    if web is not None:
        web.close()
    return web is not None


def test_a_snapshot_that_is_still_open_is_none() -> None:
    assert asks(None) and asks("unpinned")


def test_a_pinned_snapshot_or_an_offline_run_contacts_nobody() -> None:
    assert not asks("ab" * 32)
    assert not asks(None, offline=True) and not asks("unpinned", offline=True)
