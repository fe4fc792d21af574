"""What is asked of the network and what it may answer: requests, answers, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fundus_r1.errors import SpecError


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A page cannot be used, today or tomorrow.

    Args:
        reason: one of `rows.RefusedPage.reason`.
        detail: for a person.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Again(Exception):  # noqa: N818 - an answer, not a fault
    """No answer, or none that can be one of this service; another try may bring it.

    Args:
        why: for a person, without secrets.
        hopeless: whether no try before the deadline can.
    """

    def __init__(self, why: str, *, hopeless: bool = False):
        super().__init__(why)
        self.hopeless = hopeless


@dataclass(frozen=True)
class Request:
    """One page, at one or more places that serve the same."""

    urls: tuple[str, ...]
    """The next is asked where one does not answer."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Parameters that only the hosts in `urls` are sent, and that nothing keeps or shows."""
    robots: bool = True
    """Whether robots.txt is asked; a documented API has terms of its own."""


@dataclass(frozen=True)
class Answer:
    """A page as it came."""

    url: str
    """Where it came from, redirects followed; without secrets."""
    media_type: str
    body: bytes


def netloc(url: str) -> str:
    """``host:port`` in lower case, with the scheme's port where none is given.

    Raises:
        SpecError: it is no http address, or holds a user's name.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        if parts.scheme in ("http", "https") and parts.hostname and port and parts.username is None:
            return f"{parts.hostname.lower()}:{port}"
    except ValueError:
        pass  # said below, as of every other address that is none
    raise SpecError(
        "This is no address that can be fetched",
        where=url.partition("?")[0],
        hint="it begins with http:// or https:// and a host, and holds no user name",
    )
