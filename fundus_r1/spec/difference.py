"""How two specs differ, field by field, and which of the differences change what is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fundus_r1.fingerprint import ABSENT, changes
from fundus_r1.spec import RunSpec

CHECKS = ("science.prompts.", "science.index.manifests.")
"""Fields of the science by which a run is checked; no output but the report depends on them."""


@dataclass(frozen=True)
class Difference:
    """One field in which two specs differ."""

    path: str
    """``science.sft.epochs``."""
    a: Any
    """Plain data, or `fingerprint.ABSENT`."""
    b: Any
    in_science: bool
    """Whether it belongs to the science; else it is a name, a place or a size, which changes no result."""

    @property
    def changes_results(self) -> bool:
        """Whether what is made, trained or scored depends on it."""
        return self.in_science and not self.path.startswith(CHECKS)

    def as_json(self) -> dict[str, Any]:
        """For the wire; a side that has no such field has no key."""
        sides = {name: value for name, value in (("a", self.a), ("b", self.b)) if value is not ABSENT}
        return {"path": self.path, **sides, "changes_results": self.changes_results}


def differences(a: RunSpec, b: RunSpec) -> list[Difference]:
    """All fields in which two specs differ, by path; none if they are equal."""
    return [
        Difference(change.path, change.old, change.new, in_science=change.path.startswith("science."))
        for change in changes(a, b)
    ]
