"""Retrieved text is data: what tries to instruct a model is taken out and reported.

Two things are done to a text. Blocks that no reference text needs (chat-template tags, role tags,
fences, comments, Markdown images, encoded orders) are taken out whole. Then each sentence is
looked at as a model would read it, without invisible characters, look-alike letters and spaced-out
words; one that gives orders is replaced by a marker. The patterns are in `guard_patterns`. The
prompt quotes what is left as JSON, which no text can leave; this module is the second wall.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fundus_r1.retrieval.guard_patterns import (
    BASE64,
    BLOCKS,
    DECODING,
    DIRECTION,
    INVISIBLE,
    LOOK_ALIKES,
    RUN_TOGETHER,
    SENTENCES,
    SPACED,
)
from fundus_r1.retrieval.sources import Note
from fundus_r1.rows import REMOVED, Neutralised

_EXCERPT = 160
_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'”’)\]])\s+|(?<=[。！？])\s*|\n+")


@dataclass(frozen=True)
class Hit:
    """One piece that was taken out."""

    kind: str
    text: str


def clean(note: Note) -> tuple[Note, list[Neutralised]]:
    """A section without what would instruct a model, and a row for each piece taken out."""
    title, in_title = neutralise(note.title)
    section, in_section = neutralise(note.section)
    text, in_text = neutralise(note.text)
    in_hidden = [Hit("hidden", piece) for piece in note.hidden if neutralise(piece)[1]]
    found = [
        Neutralised(
            source=note.source,
            title=title,
            section=section,
            reference=note.reference,
            kind=hit.kind,
            excerpt=" ".join(hit.text.split())[:_EXCERPT],
        )
        for hit in (*in_title, *in_section, *in_text, *in_hidden)
    ]
    return replace(note, title=title, section=section, text=text, hidden=()), found


def neutralise(text: str) -> tuple[str, list[Hit]]:
    """A text without what would instruct a model, and what was taken out, in its order.

    A text without such pieces comes back as it is, but for invisible characters.
    """
    hits: list[Hit] = []
    if DIRECTION.search(text):
        hits.append(Hit("hidden", readable(text)))
    text = INVISIBLE.sub("", text)
    for kind, pattern in BLOCKS:
        text = _without(pattern, kind, text, hits)
    text = _without_encoded(text, hits)
    sentences = list(_sentences(text))
    ordered = [_order_in(sentence) for sentence in sentences]
    # Orders may be cut in two by a full stop: "Ignore all. Previous instructions."
    for place in range(len(sentences) - 1):
        if ordered[place] is None and ordered[place + 1] is None:
            both = re.sub(r"[.!?\s]+$", " ", sentences[place]) + sentences[place + 1].lstrip()
            ordered[place] = ordered[place + 1] = _order_in(both)
    pieces: list[str] = []
    for sentence, order in zip(sentences, ordered, strict=True):
        if order is None:
            pieces.append(sentence)
        else:
            hits.append(Hit(order, readable(sentence)))
            pieces.append(f"{REMOVED}\n" if sentence.endswith("\n") else f"{REMOVED} ")
    if not hits:
        return text, []
    joined = "".join(pieces)
    return re.sub(rf"(?:{re.escape(REMOVED)}\s*)+", f"{REMOVED} ", joined).strip(), hits


def readable(text: str) -> str:
    """A text as a model reads it: compatible forms, no invisible characters, no spaced-out words."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return SPACED.sub(lambda match: re.sub(r"(?<=\w)[ .\-_*·](?=\w)", "", match[0]), text)


def _order_in(sentence: str) -> str | None:
    """The kind of the order that a sentence gives, or None."""
    plain = readable(sentence)
    latin = plain.translate(LOOK_ALIKES)
    for kind, pattern in SENTENCES:
        if pattern.search(plain) or (latin != plain and pattern.search(latin)):
            return kind
    return "override" if RUN_TOGETHER.search(re.sub(r"\W", "", latin)) else None


def _sentences(text: str) -> Iterator[str]:
    """The sentences and lines of a text with the blanks behind them; joined they are the text."""
    start = 0
    for match in _END.finditer(text):
        if match.end() > start:
            yield text[start : match.end()]
            start = match.end()
    if start < len(text):
        yield text[start:]


def _without(pattern: re.Pattern[str], kind: str, text: str, hits: list[Hit]) -> str:
    hits += [Hit(kind, match[0]) for match in pattern.finditer(text)]
    return pattern.sub(f" {REMOVED} ", text)


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
