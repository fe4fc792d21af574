"""The format reward (paper, Sec. 3.3): 1 if the output has the required form, else 0."""

from __future__ import annotations

from fundus_r1.prompts.student import StudentAnswer


def format_reward(parsed: StudentAnswer) -> float:
    """1.0 for exactly one ``<think>...</think>``, then one ``<answer>...</answer>``, else 0.0.

    Nothing but white space stands around and between them, neither is empty, and the tags are in lower
    case (`prompts.student`).
    """
    return 1.0 if parsed.well_formed else 0.0
