"""What the report says of the training: curves of SFT (stage 7) and GRPO (stage 8), step by step.

Small figures of few curves each. A setup shows what it trains with: a curve without a point is left out, and
a figure without a curve; one of the process reward or its judge is there only where there are any
(paper, Sec. 3.3 and Tab. 5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fundus_r1.plots.svg import line_chart
from fundus_r1.rewards.watch import SHARES, shares
from fundus_r1.spec.setups import ProcessMode
from fundus_r1.storage.output import StageOutput

View = dict[str, Any]
Line = Mapping[str, Any]

_GIB = 2**30
_WIDTH, _HEIGHT = 340, 180

PROCESS = {
    "none": "without a process reward",
    "vf": "process reward of right answers alone, from the findings",
    "dk": "process reward of wrong answers alone, from the knowledge",
    "selective": "process reward as in Eq. 4, from findings or knowledge as the answer is right or wrong",
    "sum": "process reward as the sum of both terms, from the findings and from the knowledge",
}
"""Mode -> what it rewards, in words."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        title: its name.
        words: what is drawn.
        curves: name of a curve -> field of the rows.
        zero: whether the y axis begins at zero.
        happened: whether a curve that is zero throughout is left out.
    """

    title: str
    words: str
    curves: Mapping[str, str]
    zero: bool = True
    happened: bool = False


SFT = (
    Figure(
        "SFT loss",
        "Cross-entropy of the assistant's tokens.",
        {"training": "loss", "validation": "eval_loss"},
        zero=False,
    ),
    Figure("Learning rate", "Of AdamW.", {"rate": "learning_rate"}),
    Figure("Gradients", "Norm of a step's gradients, before it is limited.", {"norm": "grad_norm"}),
    Figure("Speed", "Tokens a second, over all processes.", {"tokens/s": "tokens_per_s"}),
    Figure("Use of the device", "Model FLOPs utilisation, of 1.", {"MFU": "mfu"}),
    Figure("Memory", "GiB that the first process had at most.", {"GiB": "memory"}),
)

GRPO = (
    Figure("KL", "Low-variance KL loss to the policy before GRPO, nats a token.", {"KL": "kl"}),
    Figure("Entropy", "Of the policy, nats a token.", {"entropy": "entropy"}),
    Figure("Clipped", "Share of tokens whose probability ratio is clipped.", {"clipped": "clip_share"}),
    Figure(
        "Zero advantage",
        "Share of prompts whose rollouts all had one reward: nothing is learnt from them.",
        {"share": "zero_advantage"},
    ),
    Figure(
        "Response length",
        "Tokens of a rollout: the mean, and the longest.",
        {"mean": "response_length", "longest": "response_length_max"},
    ),
    Figure("Cut off", "Share of rollouts that reach the length limit.", {"share": "response_cut"}),
    Figure("Gradients", "Norm of an update's gradients, before it is limited.", {"norm": "grad_norm"}),
    Figure("Learning rate", "Of AdamW.", {"rate": "learning_rate"}),
    Figure(
        "Time of a step",
        "Seconds: all of it, rollouts with the wait for their rewards, log-probabilities, update.",
        {
            "step": "step_s",
            "rollouts": "rollouts_s",
            "log-probabilities": "log_probs_s",
            "update": "update_s",
        },
    ),
    Figure("Speed", "Tokens a second, of each process.", {"tokens/s": "tokens_per_s"}),
    Figure("Use of the device", "Model FLOPs utilisation of the update, of 1.", {"MFU": "mfu"}),
    Figure(
        "Memory",
        "GiB: the most that the trainer had on its device, and what the machine has in use.",
        {"device": "device_memory", "machine": "machine_memory"},
    ),
)

JUDGE = (
    Figure(
        "Verdicts on right answers",
        "Share of rollouts; the judge compares the trace with the image's findings.",
        {"plausible": "findings_plausible", "tenuous": "findings_tenuous", "flawed": "findings_flawed"},
        happened=True,
    ),
    Figure(
        "Verdicts on wrong answers",
        "Share of rollouts; the judge compares the trace with the knowledge of the answer given.",
        {"plausible": "knowledge_plausible", "not plausible": "knowledge_implausible"},
        happened=True,
    ),
    Figure("Judge's latency", "Seconds that a verdict was waited for, mean.", {"seconds": "judge_s"}),
    Figure(
        "Judge's answers",
        "Share of verdicts that were had from an identical request, and that are missing.",
        {"from cache": "judge_cached", "missing": "judge_failed"},
    ),
)

HACKING = (
    Figure(
        "Repetition",
        "Share of a rollout's runs of four words that stood in it before.",
        {"share": "repeated"},
    ),
    Figure(
        "Off the vocabulary",
        "Share of the findings stated that neither the image nor the knowledge of an option has.",
        {"share": "off_vocabulary"},
    ),
    Figure(
        "Judge against rules",
        "Share of verdicts that a rule-based judge gives too.",
        {"agreement": "judge_agrees"},
    ),
    Figure(
        "Speaking to the judge",
        "Share of rollouts whose trace addresses the judge; what it says to it is taken out.",
        {"share": "judge_addressed"},
    ),
)


def training(outputs: Mapping[str, StageOutput], mode: ProcessMode) -> list[View]:
    """The parts of the section, each with its figures; none for what the setup does not train.

    Args:
        outputs: of the stages ``sft`` and ``grpo``.
        mode: of the setup's process reward.
    """
    sft = [_in_gib(row) for row in _lines(outputs["sft"], "log.jsonl")]
    grpo = [_with_shares(row) for row in _lines(outputs["grpo"], "rewards.jsonl")]
    parts = {"sum": "score", "answer": "answer", "format": "format"}
    if mode != "none":
        parts |= {"process": "process"}
    reward = Figure("GRPO reward", f"Mean over rollouts: the sum, and its parts; {PROCESS[mode]}.", parts)
    sections = [
        ("Supervised fine-tuning", "", sft, SFT),
        (f"GRPO, {PROCESS[mode]}", "", grpo, (reward, *GRPO)),
        ("The judge", "", grpo, JUDGE if mode != "none" else ()),
        (
            "Signs of reward hacking",
            "None of these is part of the reward. If they rise with it while the answers do not get better, "
            "or the judge and the rules part, the reward is being gamed.",
            grpo,
            HACKING,
        ),
    ]
    shown = [
        {
            "title": title,
            "words": words,
            "figures": [view for figure in figures if (view := _view(figure, rows))],
        }
        for title, words, rows, figures in sections
    ]
    return [section for section in shown if section["figures"]]


def _lines(output: StageOutput, name: str) -> list[dict[str, Any]]:
    if name not in output:
        return []
    return [json.loads(line) for line in output.read_bytes(name).splitlines()]


def _in_gib(row: dict[str, Any]) -> Line:
    return row | {"memory": row["memory"] / _GIB} if row.get("memory") is not None else row


def _with_shares(row: dict[str, Any]) -> Line:
    """A GRPO row with the shares of `rewards.watch` in the place of the means that they are made of."""
    made = shares(row)
    rest = {name: value for name, value in row.items() if name not in SHARES}
    log_probs = [row[name] for name in ("old_log_prob_s", "reference_s") if name in row]
    return rest | made | ({"log_probs_s": sum(log_probs)} if log_probs else {})


def _view(figure: Figure, rows: Sequence[Line]) -> View | None:
    """The figure drawn; None if it has no curve."""
    curves = {
        name: [(float(row["step"]), float(row[field])) for row in rows if row.get(field) is not None]
        for name, field in figure.curves.items()
    }
    curves = {
        name: points
        for name, points in curves.items()
        if points and not (figure.happened and all(y == 0 for _, y in points))
    }
    plot = line_chart(
        curves, title=figure.title, x_name="optimiser step", zero=figure.zero, width=_WIDTH, height=_HEIGHT
    )
    if not plot:
        return None
    return {"title": figure.title, "words": figure.words, "keys": list(curves), "plot": plot}
