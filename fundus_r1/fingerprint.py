"""Fingerprints: canonical JSON -> SHA-256.

The law: two values have one fingerprint exactly if their canonical JSON is equal. Keys are
sorted, separators are minimal, text is UTF-8, floats are written as Python's shortest
round-trip. A value with no stable encoding (NaN, a set, a float that is a key, an object that
is no pydantic model) is refused, because a fingerprint that moves by itself is worse than none.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

SHORT = 12


def _plain(value: Any, at: str) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value, at)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{at or 'value'} is {value}: only finite numbers can be fingerprinted")
        return value
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="python"), at)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{at or 'value'} has the key {key!r}: keys must be text")
        return {str(key): _plain(item, f"{at}.{key}" if at else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{at}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, PurePath):
        raise TypeError(f"{at or 'value'} is a path: say str(path) if the place itself is meant")
    raise TypeError(
        f"{at or 'value'} is a {type(value).__name__}, which has no stable encoding: "
        "turn it into a pydantic model, dict, list, text, number or None first"
    )


def canonical(value: Any) -> bytes:
    """The canonical JSON of a value.

    Raises:
        TypeError: the value, or something inside it, has no stable encoding.
    """
    plain = _plain(value, "")
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def fingerprint(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256(data: bytes) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class Absent(enum.Enum):
    """Stands for a field that one of two values does not have."""

    ABSENT = "(absent)"


ABSENT = Absent.ABSENT


def _shown(value: Any) -> str:
    return ABSENT.value if value is ABSENT else json.dumps(value)


@dataclass(frozen=True)
class Change:
    """One field in which two values differ."""

    path: str
    """``a.b``; empty for the values themselves."""
    old: Any
    """Plain data, or `ABSENT`."""
    new: Any

    def __str__(self) -> str:
        return f"{self.path or 'value'}: {_shown(self.old)} -> {_shown(self.new)}"


def changes(old: Any, new: Any, at: str = "") -> list[Change]:
    """What differs between two values, field by field, keys sorted.

    Raises:
        TypeError: a value has no stable encoding.
    """
    old, new = _plain(old, at), _plain(new, at)
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            path = f"{at}.{key}" if at else key
            if key in old and key in new:
                found += changes(old[key], new[key], path)
            else:
                found.append(Change(path, old.get(key, ABSENT), new.get(key, ABSENT)))
        return found
    # Not `!=`: Python calls 1, 1.0 and True equal, a fingerprint does not.
    return [Change(at, old, new)] if canonical(old) != canonical(new) else []
