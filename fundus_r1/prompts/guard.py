"""Text from elsewhere is data: what tries to instruct a model is taken out and reported.

Two things are done to a text, retrieved or written by the student. Blocks that no such text needs
(chat-template tags, role tags, fences, comments, Markdown images, encoded orders) are taken out
whole. Then each sentence is looked at as a model would read it, without invisible characters,
look-alike letters and spaced-out words; one that gives orders is replaced by a marker. The patterns
are in `guard_patterns`.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from fundus_r1.prompts.guard_literals import occurs
from fundus_r1.prompts.guard_patterns import (
    BASE64,
    BLOCKS,
    DECODING,
    DIRECTION,
    INVISIBLE,
    LOOK_ALIKES,
    RUN_TOGETHER,
    RUN_TOGETHER_NEEDS,
    SENTENCES,
    SPACED,
    Sought,
    without_stops,
)
from fundus_r1.rows import REMOVED

_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'”’)\]])\s+|(?<=[。！？])\s*|\n+")


@dataclass(frozen=True)
class Hit:
    """One piece that was taken out."""

    kind: str
    text: str


def neutralise(text: str, *, spoken: Collection[str] = ()) -> tuple[str, list[Hit]]:
    """A text without what would instruct a model, and what was taken out, in its order.

    A text without such pieces comes back as it is, but for invisible characters.

    Args:
        text: the text.
        spoken: kinds of sentences that such a text may hold, and keeps.
    """
    hits: list[Hit] = []
    if DIRECTION.search(text):
        hits.append(Hit("hidden", readable(text)))
    text = INVISIBLE.sub("", text)
    lowered = text.lower()
    for block in BLOCKS:
        if occurs(block.needs, lowered):
            text = _without(block, text, hits)
    text = _without_encoded(text, hits)
    pieces = list(_without_orders(text, [each for each in SENTENCES if each.kind not in spoken], hits))
    if not hits:
        return text, []
    joined = "".join(pieces)
    return re.sub(rf"(?:{re.escape(REMOVED)}\s*)+", f"{REMOVED} ", joined).strip(), hits


def readable(text: str) -> str:
    """A text as a model reads it: compatible forms, no invisible characters, no spaced-out words."""
    text = INVISIBLE.sub("", text if text.isascii() else unicodedata.normalize("NFKC", text))
    return SPACED.sub(lambda match: re.sub(r"(?<=\w)[ .\-_*·](?=\w)", "", match[0]), text)


def _latin(text: str) -> str:
    """A text with Latin letters in the place of those that look like them."""
    return text if text.isascii() else text.translate(LOOK_ALIKES)


def _without_orders(text: str, sought: Sequence[Sought], hits: list[Hit]) -> Iterator[str]:
    """The sentences of a text with the blanks behind them, markers in the place of orders."""
    sought, together = _possible(text, sought), _runs_together(text)
    if not sought and not together:
        yield text
        return
    sentences = list(_sentences(text))
    ordered = [_order_in(sentence, sought, together=together) for sentence in sentences]
    # Orders may be cut in two by a full stop: "Ignore all. Previous instructions."
    for place in range(len(sentences) - 1):
        if ordered[place] is None and ordered[place + 1] is None:
            both = re.sub(r"[.!?\s]+$", " ", sentences[place]) + sentences[place + 1].lstrip()
            ordered[place] = ordered[place + 1] = _order_in(both, sought, together=together)
    for sentence, order in zip(sentences, ordered, strict=True):
        if order is None:
            yield sentence
        else:
            hits.append(Hit(order, readable(sentence)))
            yield f"{REMOVED}\n" if sentence.endswith("\n") else f"{REMOVED} "


def _possible(text: str, sought: Sequence[Sought]) -> list[Sought]:
    """What can match in a sentence of a text, or in two that follow each other."""
    plain = readable(text)
    latin = _latin(plain)
    # A capital I with a dot is two characters in lower case.
    lowered = (plain if latin == plain else f"{plain}\n{latin}").lower().replace("\u0307", "")
    joined = without_stops(lowered)
    return [each for each in sought if occurs(each.needs, joined)]


def _runs_together(text: str) -> bool:
    squeezed = re.sub(r"\W", "", _latin(readable(text)))
    return occurs(RUN_TOGETHER_NEEDS, squeezed.lower()) and RUN_TOGETHER.search(squeezed) is not None


def _order_in(sentence: str, sought: Sequence[Sought] = SENTENCES, *, together: bool = True) -> str | None:
    """The kind of the order that a sentence gives, or None.

    Args:
        sentence: one sentence.
        sought: what is looked for.
        together: whether an order without blanks is looked for as well.
    """
    plain = readable(sentence)
    latin = _latin(plain)
    for each in sought:
        if each.pattern.search(plain) or (latin != plain and each.pattern.search(latin)):
            return each.kind
    return "override" if together and _runs_together(sentence) else None


def _sentences(text: str) -> Iterator[str]:
    """The sentences and lines of a text with the blanks behind them; joined they are the text."""
    start = 0
    for match in _END.finditer(text):
        if match.end() > start:
            yield text[start : match.end()]
            start = match.end()
    if start < len(text):
        yield text[start:]


def _without(block: Sought, text: str, hits: list[Hit]) -> str:
    hits += [Hit(block.kind, match[0]) for match in block.pattern.finditer(text)]
    return block.pattern.sub(f" {REMOVED} ", text)


def _without_encoded(text: str, hits: list[Hit]) -> str:
    """Takes out encoded text that says an order, or that the text around it asks to decode."""

    def judged(match: re.Match[str]) -> str:
        around = text[max(0, match.start() - 160) : match.end() + 160]
        if not (DECODING.search(around) or _order_in(_decoded(match[0]))):
            return match[0]
        hits.append(Hit("encoded", match[0]))
        return f" {REMOVED} "

    return BASE64.sub(judged, text)


def _decoded(blob: str) -> str:
    try:
        return base64.b64decode(blob + "=" * (-len(blob) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
