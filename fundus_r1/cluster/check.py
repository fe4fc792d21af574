"""One thing that a run needs: whether it is there, and what to do if not. Checks go on after a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fundus_r1.errors import FundusError


@dataclass(frozen=True)
class Check:
    """A row of the preflight's table."""

    what: str
    needed: str
    found: str
    ok: bool | None
    """None: it may be so, or could not be looked at; the run is not held back for it."""
    todo: str = ""
    """Empty where there is nothing to do."""


def looked(what: str, needed: str, look: Callable[[], list[Check]]) -> list[Check]:
    """What a look finds; an error of it is a row too, so that the looks after it are done.

    Args:
        what: the row's, if the look fails.
        needed: the row's, if the look fails.
        look: makes rows.
    """
    try:
        return look()
    except FundusError as error:
        found = error.what + (f" ({error.where})" if error.where else "")
        return [Check(what, needed, found, False, error.hint or "mend that, and look again")]
