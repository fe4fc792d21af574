"""Which literal texts a regular expression cannot match without.

The rule: every match of the expression contains one of the texts (case apart). Looking for a few
texts is a hundred times faster than searching with the expression, and most texts have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_SMALL_CLASS = 6
"""Characters of a class ``[...]`` that are still listed one by one."""

Needed = frozenset[str] | None
"""One of these occurs in each match; None if nothing is known."""
Groups = tuple[tuple[str, ...], ...]


def needed(pattern: re.Pattern[str]) -> Groups:
    """Groups of lower-case texts; each match of an expression contains a text of each group."""
    found = {*_of_each(_parser.parse(pattern.pattern, pattern.flags))}
    return tuple(tuple(sorted(texts)) for texts in sorted(found, key=_quality, reverse=True))


def occurs(groups: Groups, lowered: str) -> bool:
    """Whether an expression that needs `groups` can match in a text of lower case."""
    for texts in groups:
        for text in texts:
            if text in lowered:
                break
        else:
            return False
    return True


def _quality(texts: frozenset[str]) -> tuple[int, int, list[str]]:
    """How much a group rules out: by its shortest text, then by how few there are."""
    return min(map(len, texts)), -len(texts), sorted(texts)


def _of_each(items: Iterable[tuple[Any, Any]]) -> Iterator[frozenset[str]]:
    """What the items of a sequence need, of which each has to match."""
    run = ""
    for code, value in items:
        if code is op.LITERAL:
            run += chr(value)
            continue
        if run:
            yield frozenset({run.lower()})
            run = ""
        if found := _of_item(code, value):
            yield found
    if run:
        yield frozenset({run.lower()})


def _of_sequence(items: Iterable[tuple[Any, Any]]) -> Needed:
    return max(_of_each(items), key=_quality, default=None)


def _of_item(code: Any, value: Any) -> Needed:
    if code is op.SUBPATTERN:
        return _of_sequence(value[-1])
    if code is op.ATOMIC_GROUP:
        return _of_sequence(value)
    if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return _of_sequence(value[2]) if value[0] else None
    if code is op.BRANCH:
        return _of_alternatives(_of_sequence(branch) for branch in value[1])
    if code is op.IN and len(value) <= _SMALL_CLASS:
        return _of_alternatives(
            frozenset({chr(char).lower()}) if kind is op.LITERAL else None for kind, char in value
        )
    return None


def _of_alternatives(branches: Iterable[Needed]) -> Needed:
    """What is needed where one of several has to match: nothing is known if nothing is of one."""
    all_of_them: frozenset[str] = frozenset()
    for branch in branches:
        if not branch:
            return None
        all_of_them |= branch
    return all_of_them
