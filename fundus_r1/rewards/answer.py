"""The answer reward (paper, Sec. 3.3): 1 if the predicted answer is the right one, else 0.

The answer is read by the evaluation's own extraction (`prompts.extraction`): what stage 9 would count
as right is rewarded, and nothing else.

- One right option, Yes/No among them: its letter or its text, as the extraction reads them.
- Several right options: exactly these are chosen; a part of them, or one more, is wrong.
- An open question, which no benchmark has: the same words, or a name of the same canonical label. A
  broader or a narrower label is another answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from fundus_r1.ontology.labels import LABELS, canonical_label
from fundus_r1.prompts.extraction import extract, visible_answer


class Asked(Protocol):
    """What is needed of a question; `rows.Prompt` and `rows.Triplet` have it."""

    @property
    def answer(self) -> str: ...
    @property
    def options(self) -> dict[str, str]: ...
    @property
    def option_labels(self) -> dict[str, str]: ...
    @property
    def right(self) -> tuple[str, ...] | None: ...


@dataclass(frozen=True)
class Predicted:
    """The answer y^ of a rollout."""

    correct: bool
    said: bool
    """Whether there is an answer at all, readable or not."""
    names: tuple[str, ...]
    """Texts of the chosen options, or the name of the label that answers an open question; none if the
    answer is none of those that the question allows."""
    labels: tuple[str, ...]
    """Their canonical labels; none if one of `names` states no label."""


def predicted(text: str, asked: Asked) -> Predicted:
    """Reads the answer of a rollout.

    Args:
        text: the whole rollout.
        asked: the question.
    """
    if not asked.options:
        return _open(visible_answer(text), asked.answer)
    letters = extract(text, asked.options, several=asked.right is not None)
    if not letters:
        return Predicted(False, said=_speaks(visible_answer(text)), names=(), labels=())
    labels = [asked.option_labels.get(letter) or canonical_label(asked.options[letter]) for letter in letters]
    return Predicted(
        correct=_chosen_right(letters, asked),
        said=True,
        names=tuple(asked.options[letter] for letter in letters),
        labels=() if None in labels else tuple(label for label in labels if label),
    )


def answer_reward(answer: Predicted) -> float:
    """1.0 for a right answer, else 0.0."""
    return 1.0 if answer.correct else 0.0


def _chosen_right(letters: tuple[str, ...], asked: Asked) -> bool:
    if asked.right is not None:
        return set(letters) == set(asked.right)
    return [_words(asked.options[letter]) for letter in letters] == [_words(asked.answer)]


def _open(answer: str, truth: str) -> Predicted:
    label = canonical_label(answer)
    right = canonical_label(truth)
    same = _words(answer) == _words(truth) or (label is not None and label == right)
    label = right if same else label
    name = (LABELS[label].name,) if label else ((truth,) if same else ())
    return Predicted(same, said=_speaks(answer), names=name, labels=(label,) if label else ())


def _words(text: str) -> list[str]:
    """Words and numbers alone, without regard to case."""
    return re.findall(r"[^\W_]+", text.casefold())


def _speaks(answer: str) -> bool:
    return any(char.isalnum() for char in answer)
