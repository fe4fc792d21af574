"""What is known of one GRPO step, from its rollouts and from verl, and when it means that a run must stop.

A step's row holds, under names of our own,

* the means over its rollouts of whatever the reward function returns (`rewards.verl_entry`);
* ``zero_advantage``: the share of prompts whose rollouts all had one reward. GRPO's advantage is a reward's
  distance from the mean of its group (paper, Sec. 3.3), so nothing is learnt from them;
* ``response_length_max`` and ``response_cut``: the longest rollout, and the share that reached the limit
  (verl's own ``response_length/clip_ratio`` is the share that is as long as the longest);
* what verl measures while it trains (`FIGURES`); a figure that verl does not give is not in the row.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fundus_r1.errors import ModelError

Line = dict[str, Any]

FIGURES = {
    "kl": "actor/kl_loss",
    "entropy": "actor/entropy",
    "loss": "actor/loss",
    "policy_loss": "actor/pg_loss",
    "clip_share": "actor/pg_clipfrac",
    "grad_norm": "actor/grad_norm",
    "learning_rate": "actor/lr",
    "agreement": "training/rollout_actor_probs_pearson_corr",
    "step_s": "timing_s/step",
    "rollouts_s": "timing_s/gen",
    "old_log_prob_s": "timing_s/old_log_prob",
    "reference_s": "timing_s/ref",
    "update_s": "timing_s/update_actor",
    "weight_sync_s": "timing_s/update_weights",
    "checkpoint_s": "timing_s/save_checkpoint",
    "tokens": "perf/total_num_tokens",
    "tokens_per_s": "perf/throughput",
    "mfu": "perf/mfu/actor",
    "device_memory": "actor/perf/max_memory_allocated_gb",
    "machine_memory": "actor/perf/cpu_memory_used_gb",
}
"""Our name -> verl's. ``kl`` and ``entropy`` in nats a token, seconds end in ``_s``, memory in GiB: the most
that the trainer had on its device, and what the machine has in use. ``tokens_per_s`` is for each process.
The wait for rewards is in ``rollouts_s``: rollouts are judged while others are made."""

WINDOW = 10
"""Steps over which the KL is averaged before it is compared."""

_IDENTITY = ("step", "uid", "triplet_id", "text")


def zero_advantage(rollouts: Sequence[Line]) -> float:
    """Share of the prompts of a step whose rollouts all had the same score, 0..1."""
    scores = defaultdict(set)
    for line in rollouts:
        # verl names a rollout <prompt>_<number>_<turn>.
        scores[line["uid"].rsplit("_", 2)[0]].add(line["score"])
    return fmean(len(each) == 1 for each in scores.values())


def step_row(step: int, rollouts: Sequence[Line], measured: Mapping[str, float], limit: int) -> Line:
    """A step's row.

    Args:
        step: its number, from 1.
        rollouts: lines of the journal, at least one.
        measured: what verl told of the step, by verl's names.
        limit: tokens that a rollout may have.
    """
    lengths = [line["response_length"] for line in rollouts]
    names = [name for name in rollouts[0] if name not in _IDENTITY]
    return (
        {"step": step, "rollouts": len(rollouts)}
        | {name: fmean(line[name] for line in rollouts) for name in names}
        | {
            "zero_advantage": zero_advantage(rollouts),
            "response_length_max": max(lengths),
            "response_cut": fmean(length >= limit for length in lengths),
        }
        | {name: measured[key] for name, key in FIGURES.items() if key in measured}
    )


def check(rows: Sequence[Line], *, max_kl: float | None, empty_advantage_steps: int | None) -> None:
    """Ends a run that has gone wrong.

    Args:
        rows: all steps so far, the newest last.
        max_kl: of the mean of ten steps; None is any.
        empty_advantage_steps: how many steps in a row may teach nothing; None is any number.

    Raises:
        ModelError: and what was seen.
    """
    newest = rows[-1]
    step = newest["step"]
    for name, what in (
        ("score", "reward"),
        ("loss", "loss"),
        ("grad_norm", "norm of the gradients"),
        ("kl", "KL"),
    ):
        if not math.isfinite(newest.get(name, 0.0)):
            raise ModelError(
                f"The {what} of GRPO step {step} is {newest[name]}",
                where="science.grpo",
                hint="lower science.grpo.learning_rate, or set science.grpo.precision to fp32",
            )
    kls = [row["kl"] for row in rows[-WINDOW:] if "kl" in row]
    if max_kl is not None and len(kls) == WINDOW and fmean(kls) > max_kl:
        raise ModelError(
            f"The policy has gone far from where it began: its KL loss is {fmean(kls):.4g} nats a token, the "
            f"mean of the {WINDOW} steps up to {step}",
            where=f"placement.grpo.max_kl is {max_kl:g}",
            hint="lower science.grpo.learning_rate or raise science.grpo.kl_coefficient; "
            "placement.grpo.max_kl: null lets it go on",
        )
    if empty_advantage_steps is None or len(rows) < empty_advantage_steps:
        return
    last = rows[-empty_advantage_steps:]
    if all(row["zero_advantage"] == 1 for row in last):
        raise ModelError(
            f"Nothing has been learnt in the {empty_advantage_steps} steps up to {step}: all rollouts of a "
            f"prompt had the same reward (mean {fmean(row['score'] for row in last):.4g})",
            where=f"placement.grpo.empty_advantage_steps is {empty_advantage_steps}",
            hint="look at the rollouts of these steps: a student that never finds the form, or always the "
            "answer, has nothing to learn here; placement.grpo.empty_advantage_steps: null lets it go on",
        )


def check_judge(row: Line, bad_share: float) -> None:
    """Ends a run if too many verdicts of a whole step are missing; `rewards.missing` looks meanwhile.

    Args:
        row: of the step.
        bad_share: of the verdicts that were asked for, 0..1.

    Raises:
        ModelError: and what was seen.
    """
    asked, missing = (round(row.get(name, 0.0) * row["rollouts"]) for name in ("judge_calls", "judge_failed"))
    if missing > bad_share * asked:
        raise ModelError(
            f"{missing} of {asked} verdicts that step {row['step']} asked the judge for are missing; with so "
            "many, the process reward would be noise",
            where="the judge (science.models.judge, placement.endpoints.judge)",
            hint="see that the judge answers, with JSON; if so many failures are to be borne, raise "
            "science.grpo.bad_share. Training goes on from the last checkpoint",
            transient=True,
        )
