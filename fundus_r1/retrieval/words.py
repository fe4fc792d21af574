"""Words of a text as ranking compares them."""

from __future__ import annotations

import re

_UNTOLD = re.compile(
    r"(?:an?|and|are|as|at|be|by|for|from|in|is|it|its|of|on|or|that|the|this|to|what|which|with|"
    r"key|findings?|diagnosing)"
)
"""Words that tell nothing, among them those of every query. "No" tells much: "No DR"."""


def tokens(text: str) -> list[str]:
    """Lower-case words, without the plural's s."""
    words = (word for word in re.findall(r"[a-z0-9]+", text.lower()) if not _UNTOLD.fullmatch(word))
    return [word[:-1] if len(word) > 3 and re.search(r"[^su]s$", word) else word for word in words]
