"""What the votes of all images say together: histogram, agreement of the rollouts, counts.

Rows are counted as they pass by and none is kept. What is known of one finding is how often p
rollouts said present and a said absent; everything else follows from that, in whole numbers, so
the order of the images shows nowhere.

*Agreement* is the share of pairs of rollouts that say the same: with p and a for one finding of
one image, (p(p-1) + a(a-1)) / (n(n-1)) where n = p + a >= 2, and then the mean over images. An
abstention belongs to no pair. *Kappa* is Fleiss' kappa, (agreement - chance) / (1 - chance), where
chance = q^2 + (1 - q)^2 and q is the share of present among everything that was said; it is None
where chance is 1. The paper's vote (Sec. 3.2.2) says nothing of agreement; these figures are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fundus_r1.rows import Findings

Said = Counter[tuple[int, int]]
"""(rollouts that said present, that said absent) -> how many images."""


class Tally:
    """Counts rows of stage 3.

    Args:
        rollouts: in which each image was asked about.
    """

    def __init__(self, rollouts: int):
        self._rollouts = rollouts
        self._said: dict[str, Said] = {}
        self._counts: Counter[str] = Counter()

    def passing(self, rows: Iterable[Findings]) -> Iterator[Findings]:
        """The rows, each counted as it goes by."""
        for row in rows:
            self.add(row)
            yield row

    def add(self, row: Findings) -> None:
        """Counts one image."""
        for key, votes in row.votes.items():
            absent = row.rollouts - votes - row.abstentions[key]
            self._said.setdefault(key, Counter())[votes, absent] += 1
        self._counts.update(
            images=1,
            pixel=row.source == "pixel",
            observer=row.source == "observer",
            asked=len(row.asked),
            kept=len(row.observed),
            abstentions=sum(row.abstentions.values()),
        )

    def counts(self) -> dict[str, int]:
        """Images, by the source of their findings too; questions, kept findings and abstentions."""
        names = ("images", "pixel", "observer", "asked", "kept", "abstentions")
        return {name: self._counts[name] for name in names}

    def histogram(self) -> dict[str, Any]:
        """How often a finding had so many votes: over all, and finding by finding."""
        by_finding = {key: self._votes(said) for key, said in self._said.items()}
        return {"histogram": self._votes(_together(self._said)), "by_finding": by_finding}

    def _votes(self, said: Said) -> dict[str, int]:
        votes = dict.fromkeys(range(self._rollouts + 1), 0)
        for (present, _), images in said.items():
            votes[present] += images
        return {str(n): images for n, images in votes.items()}

    def agreement(self) -> dict[str, Any]:
        """Agreement and kappa, over all and finding by finding; see the module for the formulas."""
        return {
            "all": agreement(_together(self._said)),
            "by_finding": {key: agreement(said) for key, said in sorted(self._said.items())},
        }


def _together(said: Mapping[str, Said]) -> Said:
    whole: Said = Counter()
    for one in said.values():
        whole.update(one)
    return whole


def agreement(said: Said) -> dict[str, float | int | None]:
    """Mean pairwise agreement and Fleiss' kappa of what rollouts said.

    Returns:
        ``items`` (pairs of image and finding with two readable rollouts or more), ``agreement`` and
        ``kappa``, rounded to six places.
    """
    items = {pair: images for pair, images in said.items() if sum(pair) >= 2}
    count = sum(items.values())
    if not count:
        return {"items": 0, "agreement": None, "kappa": None}
    pairs = [
        images * (p * (p - 1) + a * (a - 1)) / ((p + a) * (p + a - 1))
        for (p, a), images in sorted(items.items())
    ]
    mean = sum(pairs) / count
    present = sum(images * p for (p, _), images in items.items())
    share = present / sum(images * (p + a) for (p, a), images in items.items())
    chance = share**2 + (1 - share) ** 2
    kappa = None if chance == 1 else round((mean - chance) / (1 - chance), 6)
    return {"items": count, "agreement": round(mean, 6), "kappa": kappa}
