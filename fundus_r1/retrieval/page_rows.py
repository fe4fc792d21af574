"""What the store says of pages: one entry a page, and the snapshot of what a run used."""

from __future__ import annotations

import datetime

from pydantic import BaseModel, ConfigDict

from fundus_r1.fingerprint import fingerprint
from fundus_r1.rows import RefusedPage, Row

SCHEMA_VERSION = 1


class PageRef(Row):
    """What a page was: its body, or why it has none."""

    source: str
    """``eyewiki``, ``pmc`` or ``aao``."""
    key: str
    """The request within the source, without host and credentials."""
    url: str
    """Where it came from, redirects followed; the first address asked where it did not come."""
    media_type: str
    body: str | None
    """SHA-256 of the bytes; None where the page was refused."""
    size: int
    """Bytes."""
    reason: str | None
    """Why it was refused (`rows.RefusedPage.reason`); None where it was not."""
    detail: str

    @property
    def refused(self) -> RefusedPage:
        """The row for a page that has a `reason`."""
        return RefusedPage.model_validate(
            {"source": self.source, "page": self.key, "reason": self.reason, "detail": self.detail}
        )


class PageEntry(BaseModel):
    """A kept page in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    page: PageRef
    fetched: datetime.datetime


class Snapshot(BaseModel):
    """The pages that a run used, by source and request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    pages: tuple[PageRef, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over requests and bodies; when and from which host they came does not matter."""
        return fingerprint([[page.source, page.key, page.body or page.reason] for page in self.pages])
