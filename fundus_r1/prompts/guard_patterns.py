"""What text that addresses a model looks like, as regular expressions. Used by `guard`, which says how.

The expressions of blocks and sentences stand in ``guard_patterns.yaml``, where they can be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

import yaml

from fundus_r1.prompts.guard_literals import Groups, needed

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
RUN_TOGETHER_NEEDS = needed(RUN_TOGETHER)


_STOPS = re.compile(r"[.!?\s]+")


@dataclass(frozen=True)
class Sought:
    """One kind of text that addresses a model."""

    kind: str
    pattern: re.Pattern[str]
    needs: Groups
    """Texts that the pattern does not match without (`guard_literals`); for sentences, `without_stops`."""


def without_stops(text: str) -> str:
    """A text with a blank for each run of blanks and full stops: two sentences read like one."""
    return _STOPS.sub(" ", text)


def _read() -> tuple[tuple[Sought, ...], tuple[Sought, ...]]:
    text = files(__package__).joinpath("guard_patterns.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(text)

    def compiled(pattern: str, flags: int) -> re.Pattern[str]:
        for name, fragment in rows["fragments"].items():
            pattern = pattern.replace(f"@{name}@", fragment)
        return re.compile(pattern, re.IGNORECASE | flags)

    blocks = [(row["kind"], compiled(row["pattern"], re.DOTALL)) for row in rows["blocks"]]
    sentences = [
        (kind, compiled(pattern, re.MULTILINE))
        for kind, patterns in rows["sentences"].items()
        for pattern in patterns
    ]

    def joined(groups: Groups) -> Groups:
        return tuple(tuple(without_stops(text) for text in texts) for texts in groups)

    return (
        tuple(Sought(kind, pattern, needed(pattern)) for kind, pattern in blocks),
        tuple(Sought(kind, pattern, joined(needed(pattern))) for kind, pattern in sentences),
    )


BLOCKS, SENTENCES = _read()
"""What is taken out whole, and sentences that give orders, in the order in which they are tried."""
