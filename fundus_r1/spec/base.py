"""What all parts of a specification share: frozen models, documented fields, assumed values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

UNPINNED = "unpinned"
"""Stands where a revision or a digest belongs that could not be looked up; it is never invented."""


@dataclass(frozen=True)
class Assumed:
    """Marks a field whose value the paper does not publish; the default is ours.

    ``reason`` says where the default comes from. The report lists all of them.
    """

    reason: str


class Spec(BaseModel):
    """Base of all specification models. The text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class AssumedValue:
    """One assumed field of a specification: its path, the value in force, and the reason."""

    path: str
    value: Any
    reason: str


def assumed_values(spec: BaseModel, at: str = "") -> list[AssumedValue]:
    """All assumed fields of a specification with the values in force, in reading order."""
    found: list[AssumedValue] = []
    for name, field in type(spec).model_fields.items():
        path = f"{at}.{name}" if at else name
        value = getattr(spec, name)
        for mark in field.metadata:
            if isinstance(mark, Assumed):
                found.append(AssumedValue(path, value, mark.reason))
        if isinstance(value, BaseModel):
            found += assumed_values(value, path)
    return found
