"""What the hub says of a model becomes a commit, or an error for people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hub_server import COMMIT, TAGGED, serving

from fundus_r1.errors import ModelError
from fundus_r1.models.hub import commit_of
from fundus_r1.spec.models import HubModel


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is let out, whatever the environment says."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_an_unpinned_model_gets_the_newest_commit(hub: str) -> None:
    assert commit_of(HubModel(name="org/model"), hub) == COMMIT


def test_a_tag_becomes_the_commit_that_it_names(hub: str) -> None:
    assert commit_of(HubModel(name="org/model", revision="v1.0"), hub) == TAGGED


@pytest.mark.parametrize(
    ("name", "revision", "told", "transient"),
    [
        ("org/other", "unpinned", "The hub has no org/other", False),
        ("org/model", "v9", "The hub has no org/model at the revision v9", False),
        ("org/gated", "unpinned", "org/gated is gated", False),
        ("org/busy", "unpinned", "could not be looked up", True),
    ],
)
def test_a_refusal_is_told(hub: str, name: str, revision: str, told: str, transient: bool) -> None:
    with pytest.raises(ModelError, match=told) as error:
        commit_of(HubModel(name=name, revision=revision), hub)
    assert error.value.transient is transient and error.value.hint


def test_a_hub_that_is_away_is_told() -> None:
    with pytest.raises(ModelError, match="could not be looked up") as error:
        commit_of(HubModel(name="org/model"), "http://127.0.0.1:9")
    assert error.value.transient
