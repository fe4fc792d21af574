"""What is watched of each rollout, so that reward hacking shows (paper, Sec. 3.3, on Eq. 4's sum).

No figure here is part of the reward. Each is a number that every rollout has, so that its mean over a
step is defined; what is a share of something that not every rollout has is two numbers, the part and
the whole, and `SHARES` says which belong together. (The length is verl's to count, in tokens.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fundus_r1.prompts.trace_reading import stated

SHARES: dict[str, tuple[str, tuple[str, ...]]] = {
    "off_vocabulary": ("off_vocabulary", ("findings_stated",)),
    "judge_agrees": ("judge_agrees", ("judge_calls", "-judge_failed")),
    "judge_cached": ("judge_cached", ("judge_calls",)),
    "judge_failed": ("judge_failed", ("judge_calls",)),
    "judge_s": ("judge_s", ("judge_calls",)),
}
"""Figure of a step -> (means of the part, means whose sum is the whole; a minus takes one away)."""

_N_GRAM = 4


def repeated(text: str) -> float:
    """Share of a text's runs of four words that stood in it before, 0..1; 0 for a shorter text."""
    words = text.lower().split()
    runs = max(0, len(words) - _N_GRAM + 1)
    different = len(set(zip(*(words[start:] for start in range(_N_GRAM)), strict=False)))
    return 1 - different / runs if runs else 0.0


def off_vocabulary(trace: str, vocabulary: Collection[str]) -> tuple[int, int]:
    """(findings that a trace states as present and that are not in a vocabulary, all that it states).

    Args:
        trace: the reasoning.
        vocabulary: canonical keys; empty where the question has none, which gives (0, 0).
    """
    if not vocabulary:
        return 0, 0
    present = stated(trace).present
    return len(present.difference(vocabulary)), len(present)


def shares(means: Mapping[str, float]) -> dict[str, float]:
    """The figures of `SHARES` of a step, without those whose whole is nothing.

    Args:
        means: of the rollouts' numbers over the step.
    """
    found = {}
    for name, (part, wholes) in SHARES.items():
        if part not in means:
            continue
        whole = sum(-means[key[1:]] if key[0] == "-" else means[key] for key in wholes)
        if whole > 0:
            found[name] = means[part] / whole
    return found
