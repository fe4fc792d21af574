"""The format reward (paper, Sec. 3.3): 1 if the output has the required form, else 0."""

from __future__ import annotations

from fundus_r1.prompts.student import StudentAnswer


def format_reward(parsed: StudentAnswer) -> float:
    """1.0 for exactly ``<think>...</think> <answer>...</answer>``, neither empty; else 0.0."""
    return 1.0 if parsed.well_formed else 0.0
