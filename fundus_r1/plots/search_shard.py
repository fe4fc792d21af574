"""What the gallery's page searches: columns of small numbers, and an inverted index of words.

A shard covers at most `SHARD` traces, numbered from 0 within it. Words are those of the label, the
findings, the question and the trace; each has the numbers of its traces, two characters a number, so
that a shard is some hundred kilobytes however long its traces are. The page (``gallery.js``) cuts its
query into words by the same rule, and looks for words that begin with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SHARD = len(DIGITS) ** 2
"""Traces in a shard at most: as many as two digits can number."""
ACCEPTED, DISAGREEMENT = 1, 2
"""Bits of the column ``verdict``."""

_WORD = re.compile(r"[^\W_]{2,}")


def words(*texts: str) -> set[str]:
    """The words of texts, in lower case: runs of letters and digits, at least two."""
    return {word for text in texts for word in _WORD.findall(text.lower())}


def two_digits(number: int) -> str:
    """A number below `SHARD` as two characters.

    Raises:
        ValueError: it is not below.
    """
    if not 0 <= number < SHARD:
        raise ValueError(f"{number} has no two digits of base {len(DIGITS)}")
    return DIGITS[number // len(DIGITS)] + DIGITS[number % len(DIGITS)]


@dataclass
class Shard:
    """The search columns of consecutive traces."""

    samples: list[str] = field(default_factory=list)
    """Sample ids, searched as they are."""
    label: list[int] = field(default_factory=list)
    dataset: list[int] = field(default_factory=list)
    modality: list[int] = field(default_factory=list)
    verdict: list[int] = field(default_factory=list)
    reasons: list[int] = field(default_factory=list)
    """A bit for each reason against the trace."""
    index: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def add(
        self,
        sample_id: str,
        *,
        label: int,
        dataset: int,
        modality: int,
        verdict: int,
        reasons: int,
        texts: Iterable[str],
    ) -> None:
        """Adds the next trace; numbers are those of the manifest's lists.

        Raises:
            ValueError: the shard is full.
        """
        here = two_digits(len(self))
        self.samples.append(sample_id)
        self.label.append(label)
        self.dataset.append(dataset)
        self.modality.append(modality)
        self.verdict.append(verdict)
        self.reasons.append(reasons)
        for word in words(*texts):
            self.index.setdefault(word, []).append(here)

    def as_json(self) -> dict[str, Any]:
        """As the page reads it; words sorted, so that the same traces give the same bytes."""
        return {
            "samples": self.samples,
            "label": self.label,
            "dataset": self.dataset,
            "modality": self.modality,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "words": {word: "".join(self.index[word]) for word in sorted(self.index)},
        }
