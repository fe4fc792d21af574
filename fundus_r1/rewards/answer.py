"""The answer reward (paper, Sec. 3.3): 1 if the predicted answer is the right one, else 0."""

from __future__ import annotations

from collections.abc import Mapping

from fundus_r1.prompts.choice import same_answer


def answer_reward(answer: str | None, *, truth: str, options: Mapping[str, str]) -> float:
    """1.0 if the answer means the right option, else 0.0.

    Args:
        answer: what the student gave between its tags; None if nothing.
        truth: the text of the right option, or the right answer of an open question.
        options: letter -> text; empty for an open question.
    """
    return 1.0 if answer is not None and same_answer(answer, truth, options) else 0.0
