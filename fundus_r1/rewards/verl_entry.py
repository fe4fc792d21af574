"""The reward function that verl calls for each rollout: answer + format + process (paper, Sec. 3.3).

verl calls it in a process of its own, many rollouts at once, and gives it the path of its settings.
All parts are returned under the same keys for every rollout, as numbers, so that their means over
a step are the parts' means and the branches' shares:

- ``score`` and what it is the sum of: ``answer``, ``format``, ``process``;
- which verdict there is: ``findings_plausible``, ``findings_tenuous``, ``findings_flawed``,
  ``knowledge_plausible``, ``knowledge_implausible``, or ``not_judged``;
- the odd cases of `rewards.process`: ``no_trace``, ``no_answer``, ``outside_options``,
  ``no_knowledge``, ``no_findings``;
- the judge: ``judge_calls`` (verdicts asked for), ``judge_failed`` (of these, missing),
  ``judge_cached`` (had from an identical request), ``judge_s`` (seconds waited, summed),
  ``judge_agrees`` (verdicts that rules give too), ``judge_addressed`` (a 1 where the trace spoke to it);
- what is watched (`rewards.watch`): ``repeated``, ``findings_stated``, ``off_vocabulary``.

The judge is opened by the name of its factory: rewards know what a judge does (`TraceJudge`), not
which models can be one.
"""

from __future__ import annotations

import math
import pkgutil
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Never, cast, get_args

from pydantic import ConfigDict

from fundus_r1.ontology.findings import mentions
from fundus_r1.prompts.student import parse_student
from fundus_r1.rewards.answer import Predicted, answer_reward, predicted
from fundus_r1.rewards.format import format_reward
from fundus_r1.rewards.missing import MissingVerdicts
from fundus_r1.rewards.process import (
    Case,
    ProcessOutcome,
    ProcessValues,
    TraceJudge,
    process,
    reference,
)
from fundus_r1.rewards.watch import off_vocabulary, repeated
from fundus_r1.rows import Prompt
from fundus_r1.spec.base import Spec
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.spec.setups import ProcessMode

Parts = dict[str, float]

_CASES: tuple[Case, ...] = get_args(Case)


class JudgeSettings(Spec):
    """How the judge is opened. The API key is no part of it, only its variable's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factory: str
    """``module:function``, called with the two fields below; returns a `TraceJudge`."""
    chat: Chat
    endpoint: Endpoint | None


class RewardSettings(Spec):
    """All that the rewards of one run depend on, beside the prompt's row."""

    mode: ProcessMode
    values: ProcessValues
    knowledge_texts: dict[str, str]
    """``<label>|<modality>`` -> D[y, m]."""
    judge: JudgeSettings | None
    """None exactly if `mode` is ``none``."""
    bad_share: float
    """Share of a step's verdicts that may be missing (`rewards.missing`)."""


class _NoJudge:
    """Stands where no verdict is ever asked for."""

    async def grade_findings(self, *_: object) -> Never:
        raise AssertionError("no process reward, no verdict")

    grade_knowledge = grade_findings


@dataclass(frozen=True)
class ByRules:
    """What of a rollout's reward needs no judge."""

    trace: str | None
    predicted: Predicted
    answer: float
    format: float
    repeated: float


def by_rules(text: str, prompt: Prompt) -> ByRules:
    """The parts of a reward that need no judge.

    Args:
        text: the rollout.
        prompt: what was asked.
    """
    parsed, answer = parse_student(text), predicted(text, prompt)
    return ByRules(parsed.think, answer, answer_reward(answer), format_reward(parsed), repeated(text))


class Rewarder:
    """Computes rewards by one run's settings.

    Args:
        settings: the run's.
        judge: whom to ask about traces.
    """

    def __init__(self, settings: RewardSettings, judge: TraceJudge):
        self.settings = settings
        self.judge = judge
        self._missing = MissingVerdicts(settings.bad_share)

    async def parts(self, text: str, prompt: Prompt, step: int | None = None) -> Parts:
        """The reward of one rollout, its parts, what the judge said and what is watched.

        Args:
            text: the rollout.
            prompt: what was asked.
            step: of the training, for the account of missing verdicts.

        Raises:
            ModelError: the judge gave no verdict too often.
        """
        ruled = by_rules(text, prompt)
        against = reference(ruled.predicted, prompt.findings, prompt.modality, self.settings.knowledge_texts)
        outcome = await process(
            self.settings.mode, ruled.trace, ruled.predicted, against, self.judge, self.settings.values
        )
        judged = _judged(outcome)
        problems = [graded.problem for graded in outcome.graded if graded.verdict is None]
        self._missing.count(
            step,
            asked=len(outcome.graded),
            missing=len(problems),
            reason=problems[-1] if problems else None,
        )
        unknown, stated = off_vocabulary(ruled.trace or "", self._vocabulary(prompt))
        return {
            "score": ruled.answer + ruled.format + outcome.value,
            "answer": ruled.answer,
            "format": ruled.format,
            "process": outcome.value,
            **judged,
            "repeated": ruled.repeated,
            "findings_stated": float(stated),
            "off_vocabulary": float(unknown),
        }

    def _vocabulary(self, prompt: Prompt) -> frozenset[str]:
        """Findings that the knowledge of a question's options speaks of, and those of its image."""
        keys = {f"{label}|{prompt.modality}" for label in prompt.option_labels.values()}
        known = [self._findings_of[key] for key in keys if key in self._findings_of]
        return frozenset(prompt.findings).union(*known) if known else frozenset()

    @cached_property
    def _findings_of(self) -> dict[str, frozenset[str]]:
        """``<label>|<modality>`` -> the findings of which D[y, m] says that they belong to it."""
        return {
            key: frozenset(mention.key for mention in mentions(text) if not mention.negated)
            for key, text in self.settings.knowledge_texts.items()
        }


def _judged(outcome: ProcessOutcome) -> Parts:
    """Which verdicts and odd cases a rollout got: a one each, so that means are shares."""
    findings = outcome.findings and outcome.findings.verdict
    knowledge = outcome.knowledge and outcome.knowledge.verdict
    graded = outcome.graded
    return {
        "findings_plausible": float(findings == "plausible"),
        "findings_tenuous": float(findings == "tenuous"),
        "findings_flawed": float(findings == "flawed"),
        "knowledge_plausible": float(knowledge == "plausible"),
        "knowledge_implausible": float(knowledge == "implausible"),
        "not_judged": float(findings is None and knowledge is None),
        **{case: float(case in outcome.cases) for case in _CASES},
        "judge_calls": float(len(graded)),
        "judge_failed": float(sum(each.verdict is None for each in graded)),
        "judge_cached": float(sum(each.shared for each in graded)),
        "judge_s": math.fsum(each.seconds for each in graded),
        "judge_agrees": float(sum(each.verdict == each.by_rules for each in graded)),
        "judge_addressed": float(any(each.addressed for each in graded)),
    }


def open_rewarder(settings: RewardSettings) -> Rewarder:
    """The rewarder with its judge opened."""
    if settings.judge is None:
        return Rewarder(settings, _NoJudge())
    opened = settings.judge
    factory = pkgutil.resolve_name(opened.factory)
    return Rewarder(settings, cast(TraceJudge, factory(opened.chat, opened.endpoint)))


@cache
def _rewarder(path: str) -> Rewarder:
    return open_rewarder(RewardSettings.model_validate_json(Path(path).read_bytes()))


@lru_cache(maxsize=4096)
def _prompt(row: str) -> Prompt:
    """All rollouts of a prompt come with the same row."""
    return Prompt.model_validate_json(row)


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
        extra_info: ``prompt`` holds the JSON of the `Prompt` row, ``step`` the number of the step.
        settings: path of the JSON of the `RewardSettings`.

    Returns:
        ``score`` and its parts; the keys are the same for every rollout.

    Raises:
        ModelError: the judge gave no verdict too often.
    """
    assert extra_info is not None
    prompt = _prompt(extra_info["prompt"])
    return await _rewarder(settings).parts(solution_str, prompt, extra_info.get("step"))
