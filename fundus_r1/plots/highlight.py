"""A trace with its findings marked, as pieces of text (paper, Sec. 3.2.3: traces are held against VF(x)).

Which phrases are findings, and which of them are denied, says `ontology.findings.mentions`: the same
reading that the quality check and the rewards use. The pieces joined are the text, so that nothing is
lost or reordered by marking it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from fundus_r1.ontology.findings import mentions

Kind = Literal["plain", "present", "unseen", "denied"]


class Piece(NamedTuple):
    """A stretch of a trace."""

    text: str
    kind: Kind
    """``present``: stated, and in VF(x); ``unseen``: stated, not in VF(x); ``denied``: said to be absent."""
    finding: str
    """Key of the finding; empty in a plain stretch."""


def pieces(text: str, present: Collection[str]) -> tuple[Piece, ...]:
    """A text cut at the findings that it speaks of.

    Args:
        text: a trace; any text, also an empty one.
        present: VF(x), canonical keys.
    """
    found: list[Piece] = []
    end = 0
    for mention in mentions(text):
        if mention.start > end:
            found.append(Piece(text[end : mention.start], "plain", ""))
        kind: Kind = "denied" if mention.negated else "present" if mention.key in present else "unseen"
        found.append(Piece(text[mention.start : mention.end], kind, mention.key))
        end = mention.end
    if end < len(text):
        found.append(Piece(text[end:], "plain", ""))
    return tuple(found)
