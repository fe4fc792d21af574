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


def differences(old: Any, new: Any, at: str = "") -> list[str]:
    """What differs between two values, one line a field: ``a.b: 1 -> 2``."""
    old, new = _plain(old, at), _plain(new, at)
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            path = f"{at}.{key}" if at else key
            if key not in old:
                lines.append(f"{path}: (absent) -> {json.dumps(new[key])}")
            elif key not in new:
                lines.append(f"{path}: {json.dumps(old[key])} -> (absent)")
            else:
                lines += differences(old[key], new[key], path)
        return lines
    # Not `!=`: Python calls 1, 1.0 and True equal, a fingerprint does not.
    if canonical(old) != canonical(new):
        return [f"{at or 'value'}: {json.dumps(old)} -> {json.dumps(new)}"]
    return []
