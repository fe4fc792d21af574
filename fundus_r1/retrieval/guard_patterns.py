"""What text that addresses a model looks like, as regular expressions. Used by `guard`, which says how.

The expressions of blocks and sentences stand in ``guard_patterns.yaml``, where they can be read.
"""

from __future__ import annotations

import re
from importlib.resources import files

import yaml

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e0fff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
"""Characters that take no room. Pages use some of them to divide words; no meaning is lost with them."""
DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Of these, those that reorder or smuggle text, for which an English page has no use."""
SPACED = re.compile(r"(?<![\w])\w(?:[ .\-_*·]\w){3,}(?![\w])")
"""A word with something between all its letters."""
LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝкмтвнАЕОРСУХІЈЅКМТВНαειοορυνκτΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɡɩⅼ",
    "aeopcyxijshdqwkmtbhAEOPCYXIJSKMTBHaeioopuvktABEZHIKMNOPTYXigil",
)
"""Cyrillic, Greek and other letters that look like Latin ones."""
BASE64 = re.compile(r"(?<![\w+/=])(?:[A-Za-z0-9+/]{24,}={0,2})(?![\w+/=])")
DECODING = re.compile(
    r"\bbase[ -]?64\b|\brot-?13\b|\bdecod(?:e|ing)\b.{0,60}\b(?:follow|execut|obey|instruct|run)",
    re.IGNORECASE,
)
"""What asks to decode a text that stands near it."""
RUN_TOGETHER = re.compile(
    r"(?:ignore|disregard|forget)(?:all|any|the|your|my|of)*(?:previous|prior|above|earlier|preceding)"
    r"(?:instruction|prompt|direction|command|rule)",
    re.IGNORECASE,
)
"""An order without any blank between its words."""

Patterns = tuple[tuple[str, re.Pattern[str]], ...]
"""(kind, expression), in the order in which they are tried."""


def _read() -> tuple[Patterns, Patterns]:
    text = files(__package__).joinpath("guard_patterns.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(text)

    def whole(pattern: str) -> str:
        for name, fragment in rows["fragments"].items():
            pattern = pattern.replace(f"@{name}@", fragment)
        return pattern

    blocks = tuple(
        (row["kind"], re.compile(whole(row["pattern"]), re.IGNORECASE | re.DOTALL)) for row in rows["blocks"]
    )
    sentences = tuple(
        (kind, re.compile("|".join(f"(?:{whole(each)})" for each in patterns), re.IGNORECASE | re.MULTILINE))
        for kind, patterns in rows["sentences"].items()
    )
    return blocks, sentences


BLOCKS, SENTENCES = _read()
"""What is taken out whole, and sentences that give orders."""
