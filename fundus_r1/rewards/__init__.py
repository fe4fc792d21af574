"""Rewards of GRPO (paper, Sec. 3.3): pure functions. The whole reward is answer + format + process."""

from __future__ import annotations

from fundus_r1.rewards.answer import Predicted, answer_reward, predicted
from fundus_r1.rewards.format import format_reward
from fundus_r1.rewards.process import (
    ProcessOutcome,
    ProcessValues,
    Reference,
    TraceJudge,
    branch,
    process,
    process_reward,
    reference,
)

__all__ = [
    "Predicted",
    "ProcessOutcome",
    "ProcessValues",
    "Reference",
    "TraceJudge",
    "answer_reward",
    "branch",
    "format_reward",
    "predicted",
    "process",
    "process_reward",
    "reference",
]
