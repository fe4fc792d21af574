"""The reward function that verl calls for each rollout: answer + format + process (paper, Sec. 3.3).

verl calls it in a process of its own, many rollouts at once, and gives it the path of its settings.
All parts are returned under the same keys for every rollout, as numbers, so that their means over
a step are the parts' means and the branches' shares.

The judge is opened by the name of its factory: rewards know what a judge does (`TraceJudge`), not
which models can be one.
"""

from __future__ import annotations

import asyncio
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import ConfigDict

from fundus_r1.prompts.student import parse_student
from fundus_r1.rewards.answer import answer_reward
from fundus_r1.rewards.format import format_reward
from fundus_r1.rewards.process import ProcessOutcome, ProcessValues, Reference, TraceJudge, process
from fundus_r1.rows import Prompt
from fundus_r1.spec.base import Spec
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.spec.setups import ProcessMode

Parts = dict[str, float]


class JudgeSettings(Spec):
    """How the judge is opened. The API key is no part of it, only its variable's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factory: str
    """``module:function``, called with the three fields below; returns a `TraceJudge`."""
    chat: Chat
    endpoint: Endpoint | None
    concurrency: int
    """Rollouts that are judged at once."""


class RewardSettings(Spec):
    """All that the rewards of one run depend on, beside the prompt's row."""

    mode: ProcessMode
    values: ProcessValues
    knowledge_texts: dict[str, str]
    """``<label>|<modality>`` -> D[y, m]."""
    judge: JudgeSettings | None
    """None exactly if `mode` is ``none``."""


class _NoJudge:
    """Stands where no verdict is ever asked for."""

    async def grade_findings(self, *_: object) -> None:
        raise AssertionError("no process reward, no verdict")

    grade_knowledge = grade_findings


class Rewarder:
    """Computes rewards by one run's settings.

    Args:
        settings: the run's.
        judge: whom to ask about traces.
    """

    def __init__(self, settings: RewardSettings, judge: TraceJudge):
        self.settings = settings
        self.judge = judge
        self._at_once = asyncio.Semaphore(settings.judge.concurrency if settings.judge else 1)

    async def parts(self, text: str, prompt: Prompt) -> Parts:
        """The reward of one rollout, its parts, and what the judge said.

        Raises:
            ModelError: the judge did not answer.
        """
        parsed = parse_student(text)
        reference = Reference(
            truth=prompt.answer,
            options=prompt.options,
            option_labels=prompt.option_labels,
            modality=prompt.modality,
            findings=prompt.findings,
        )
        answer = answer_reward(parsed.answer, truth=prompt.answer, options=prompt.options)
        form = format_reward(parsed)
        async with self._at_once:
            outcome = await process(
                self.settings.mode,
                parsed,
                reference,
                self.judge,
                knowledge_texts=self.settings.knowledge_texts,
                values=self.settings.values,
            )
        return {
            "score": answer + form + outcome.value,
            "answer": answer,
            "format": form,
            "process": outcome.value,
            **_branches(outcome),
        }


def _branches(outcome: ProcessOutcome) -> Parts:
    """Which verdicts a rollout got: a one each, so that means are shares."""
    return {
        "findings_plausible": float(outcome.findings == "plausible"),
        "findings_tenuous": float(outcome.findings == "tenuous"),
        "findings_flawed": float(outcome.findings == "flawed"),
        "knowledge_plausible": float(outcome.knowledge is True),
        "knowledge_implausible": float(outcome.knowledge is False),
        "not_judged": float(outcome.findings is None and outcome.knowledge is None),
        "judge_calls": float(outcome.judge_calls),
        "judge_failed": float(outcome.judge_failed),
    }


def open_rewarder(settings: RewardSettings) -> Rewarder:
    """The rewarder with its judge opened."""
    if settings.judge is None:
        return Rewarder(settings, _NoJudge())
    opened = settings.judge
    factory = pkgutil.resolve_name(opened.factory)
    return Rewarder(settings, cast(TraceJudge, factory(opened.chat, opened.endpoint, opened.concurrency)))


@cache
def _rewarder(path: str) -> Rewarder:
    return open_rewarder(RewardSettings.model_validate_json(Path(path).read_bytes()))


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    *,
    settings: str,
    **_: object,
) -> Parts:
    """verl's reward function.

    Args:
        data_source: not used; verl's signature.
        solution_str: the rollout's text.
        ground_truth: not used; the right answer stands in the prompt's row.
        extra_info: ``prompt`` holds the JSON of the `Prompt` row.
        settings: path of the JSON of the `RewardSettings`.

    Returns:
        ``score`` and its parts; the keys are the same for every rollout.
    """
    assert extra_info is not None
    return await _rewarder(settings).parts(solution_str, Prompt.model_validate_json(extra_info["prompt"]))
