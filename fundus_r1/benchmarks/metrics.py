"""Accuracy, S2 and FunBench's F1, as their authors define them; no figure where none is defined.

S2 (paper, Tab. 6) is the harmonic mean of sensitivity and specificity. FunBench calls the same
"F1" and takes it for each class (its official evaluation script):

- classes are the texts of the right answers of a file; what else is chosen counts for no class;
- a question counts for a class only if the class is among its options;
- with one class (L1a) the sensitivity is reported, with two the S2 of the first in alphabetical
  order ("Yes" before "No"), with more the plain mean of the classes' S2.

Two differences where the official script divides 0 by 0 and the whole score becomes "not a number": a class
without positives, or without negatives, has no S2 and is left out of the mean; and where
sensitivity and specificity are both 0, S2 is 0, the limit of the formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Chosen:
    """One answered question, in option texts."""

    truth: frozenset[str]
    chosen: frozenset[str]
    options: frozenset[str]


@dataclass(frozen=True)
class Confusion:
    """Counts of one class against the rest."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def sensitivity(self) -> float | None:
        return _share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        return _share(self.true_negative, self.true_negative + self.false_positive)

    @property
    def s2(self) -> float | None:
        return s2(self.sensitivity, self.specificity)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def confusion(pairs: Iterable[tuple[bool, bool]]) -> Confusion:
    """Counts of (truth, chosen) pairs."""
    tally = {(truth, chosen): 0 for truth in (True, False) for chosen in (True, False)}
    for pair in pairs:
        tally[pair] += 1
    return Confusion(tally[True, True], tally[True, False], tally[False, True], tally[False, False])


def s2(sensitivity: float | None, specificity: float | None) -> float | None:
    """Harmonic mean of the two, 0..1; None if one of them is not defined."""
    if sensitivity is None or specificity is None:
        return None
    total = sensitivity + specificity
    return 2 * sensitivity * specificity / total if total else 0.0


def mean(values: Iterable[float | None]) -> float | None:
    """Plain mean of the values that are defined; None if none is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def accuracy(correct: Sequence[bool]) -> float | None:
    """Share of right answers; None if there is no question."""
    return _share(sum(correct), len(correct))


def funbench_classes(answers: Sequence[Chosen]) -> list[str]:
    """The classes of one FunBench file, in the order in which the official script takes them."""
    classes = sorted({text for answer in answers for text in answer.truth})
    return ["Yes", "No"] if classes == ["No", "Yes"] else classes


def funbench_f1(answers: Sequence[Chosen]) -> float | None:
    """FunBench's F1 of the answers to one file, 0..1; None where it is not defined."""
    classes = funbench_classes(answers)
    tables = [
        confusion(
            (name in answer.truth, name in answer.chosen) for answer in answers if name in answer.options
        )
        for name in classes
    ]
    if len(tables) == 1:
        return tables[0].sensitivity
    if len(tables) == 2:
        return tables[0].s2
    return mean(table.s2 for table in tables)
