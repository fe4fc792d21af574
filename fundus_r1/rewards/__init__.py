"""Rewards of GRPO (paper, Sec. 3.3): pure functions. The whole reward is answer + format + process."""

from __future__ import annotations

from fundus_r1.rewards.answer import answer_reward
from fundus_r1.rewards.format import format_reward
from fundus_r1.rewards.process import (
    ProcessOutcome,
    ProcessValues,
    Reference,
    TraceJudge,
    branch,
    process,
    process_reward,
)

__all__ = [
    "ProcessOutcome",
    "ProcessValues",
    "Reference",
    "TraceJudge",
    "answer_reward",
    "branch",
    "format_reward",
    "process",
    "process_reward",
]
