"""The process reward (paper, Sec. 3.3, Eq. 4) and its ablations (Tab. 5, setups H-J).

What a trace is held against depends on the answer. A right answer's trace is graded against the
image's findings VF(x); a wrong answer's trace is asked whether it is plausible against the domain
knowledge D[y^, m] of the answer that it reached. The two are never summed, except in setup J,
which shows that the sum invites reward hacking.

Assumed, because the paper does not say: setups H and I, which know only one of the two terms,
give ``other_branch`` where Eq. 4 would use the other one; setup J always adds the grade against
VF(x) and the term of the predicted answer's knowledge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fundus_r1.prompts.choice import same_answer, stated_label
from fundus_r1.prompts.student import StudentAnswer
from fundus_r1.prompts.verdicts import FindingsVerdict
from fundus_r1.spec.science import GrpoScience
from fundus_r1.spec.setups import ProcessMode

Branch = Literal["findings", "knowledge", "none"]


@dataclass(frozen=True)
class ProcessValues:
    """The values that Eq. 4 gives; they are not published (see `GrpoScience`)."""

    plausible: float
    tenuous: float
    flawed: float
    plausible_if_wrong: float
    other_branch: float

    @classmethod
    def of(cls, science: GrpoScience) -> ProcessValues:
        return cls(
            plausible=science.plausible,
            tenuous=science.tenuous,
            flawed=science.flawed,
            plausible_if_wrong=science.plausible_if_wrong,
            other_branch=science.other_branch,
        )

    def of_findings(self, verdict: FindingsVerdict | None) -> float:
        """Value of a grade against VF(x); 0 where there is none."""
        match verdict:
            case "plausible":
                return self.plausible
            case "tenuous":
                return self.tenuous
            case "flawed":
                return self.flawed
            case None:
                return 0.0

    def of_knowledge(self, plausible: bool | None) -> float:
        """Value of an assessment against D[y^, m]; 0 where there is none."""
        return self.plausible_if_wrong if plausible else 0.0


def branch(correct: bool, known: bool) -> Branch:
    """Which reference Eq. 4 takes.

    Args:
        correct: whether the predicted answer is the right one.
        known: whether there is domain knowledge D[y^, m] of the predicted answer.
    """
    if correct:
        return "findings"
    return "knowledge" if known else "none"


def process_reward(
    mode: ProcessMode,
    *,
    correct: bool,
    findings: FindingsVerdict | None,
    knowledge: bool | None,
    values: ProcessValues,
) -> float:
    """Eq. 4 and its ablations.

    Args:
        mode: ``selective`` is Eq. 4; ``vf``, ``dk`` and ``sum`` are setups H, I and J.
        correct: whether the predicted answer is the right one.
        findings: the trace's grade against VF(x); None if there is none.
        knowledge: whether the trace is plausible against D[y^, m]; None if there is no D.
        values: what the verdicts are worth.
    """
    by_findings, by_knowledge = values.of_findings(findings), values.of_knowledge(knowledge)
    match mode:
        case "none":
            return 0.0
        case "selective":
            return by_findings if correct else by_knowledge
        case "vf":
            return by_findings if correct else values.other_branch
        case "dk":
            return values.other_branch if correct else by_knowledge
        case "sum":
            return by_findings + by_knowledge


class TraceJudge(Protocol):
    """Holds a trace against a reference. Implementation: `models.judge.Judge`.

    Both give None if the judge's verdict could not be read.
    """

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> FindingsVerdict | None: ...

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> bool | None: ...


@dataclass(frozen=True)
class Reference:
    """What the process reward of one prompt needs."""

    truth: str
    """The text of the right option."""
    options: Mapping[str, str]
    option_labels: Mapping[str, str]
    modality: str
    findings: Sequence[str]
    """VF(x), canonical keys."""


@dataclass(frozen=True)
class ProcessOutcome:
    """The process reward of one rollout, and how it came about."""

    value: float
    branch: Branch
    """The reference that Eq. 4 takes for this rollout, whatever the mode makes of it."""
    findings: FindingsVerdict | None = None
    """The grade against VF(x), if it was asked for and could be read."""
    knowledge: bool | None = None
    """Whether the trace is plausible against D[y^, m], if it was asked for and could be read."""
    judge_calls: int = 0
    judge_failed: int = 0
    """Calls whose verdict could not be read; such a term counts 0."""


async def process(
    mode: ProcessMode,
    parsed: StudentAnswer,
    reference: Reference,
    judge: TraceJudge,
    *,
    knowledge_texts: Mapping[str, str],
    values: ProcessValues,
) -> ProcessOutcome:
    """The process reward of one rollout; the judge is asked only for what the mode needs.

    A rollout without a trace has no process to reward: 0 in every mode. A predicted answer that
    states no known label has no D[y^, m], and its knowledge term is 0.

    Args:
        mode: which process reward.
        parsed: the rollout's text, taken apart.
        reference: the prompt's side.
        judge: whom to ask.
        knowledge_texts: ``<label>|<modality>`` -> D[y, m].
        values: what the verdicts are worth.

    Raises:
        ModelError: the judge did not answer at all. Rewards of zero would go on teaching, so
            training must stop.
    """
    answer, trace = parsed.answer, parsed.think
    correct = answer is not None and same_answer(answer, reference.truth, reference.options)
    label = None if answer is None else stated_label(answer, reference.options, reference.option_labels)
    description = knowledge_texts.get(f"{label}|{reference.modality}") if label else None
    taken = branch(correct, description is not None)
    if mode == "none" or trace is None:
        return ProcessOutcome(0.0, taken)

    ask_findings = mode == "sum" or (correct and mode in ("selective", "vf"))
    ask_knowledge = mode == "sum" or (not correct and mode in ("selective", "dk"))

    async def by_findings() -> FindingsVerdict | None:
        return await judge.grade_findings(trace, reference.findings) if ask_findings else None

    async def by_knowledge() -> bool | None:
        if not ask_knowledge or answer is None or description is None:
            return None
        return await judge.grade_knowledge(trace, answer, description)

    findings, knowledge = await asyncio.gather(by_findings(), by_knowledge())
    asked_knowledge = ask_knowledge and description is not None
    return ProcessOutcome(
        value=process_reward(mode, correct=correct, findings=findings, knowledge=knowledge, values=values),
        branch=taken,
        findings=findings,
        knowledge=knowledge,
        judge_calls=ask_findings + asked_knowledge,
        judge_failed=(ask_findings and findings is None) + (asked_knowledge and knowledge is None),
    )
