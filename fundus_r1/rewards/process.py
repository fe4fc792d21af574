"""The process reward (paper, Sec. 3.3, Eq. 4) and its ablations (Tab. 5, setups H-J).

What a trace is held against depends on the answer. A right answer's trace is graded against the
image's findings VF(x); a wrong answer's trace is asked whether it is plausible against the domain
knowledge D[y^, m] of the answer that it reached. The two are never summed, except in setup J,
which shows that the sum invites reward hacking.

Assumed, because the paper does not say: setups H and I, which know only one of the two terms,
give ``other_branch`` where Eq. 4 would use the other one; setup J always adds the grade against
VF(x) and the term of the predicted answer's knowledge.

What the formula leaves open, each case counted under its name (`Case`):

==================  =========================================================================
no_trace            nothing to grade: 0 in every setup, and no judge is asked
no_answer           a wrong answer without y^, thus without D[y^, m]: the knowledge term is 0
outside_options     an answer that the question does not allow (a refusal, two options at once),
                    even if it names a known label: likewise, or any label whose D is easy to
                    retell would earn the term
no_knowledge        y^ is allowed and has no D[y^, m] (the modality, the anatomy): likewise. Of
                    several chosen labels, each must have one; the judge sees them all
no_findings         VF(x) is empty, as in a normal eye: the judge grades against exactly that
judge_failed        asked, and no verdict: the term is ``unjudged``, between its least and its
                    greatest value, so that the judge's failure teaches nothing either way
==================  =========================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fundus_r1.prompts.verdicts import FindingsVerdict, Graded, KnowledgeVerdict
from fundus_r1.rewards.answer import Predicted
from fundus_r1.spec.setups import ProcessMode
from fundus_r1.spec.training import GrpoScience

Branch = Literal["findings", "knowledge", "none"]
Case = Literal["no_trace", "no_answer", "outside_options", "no_knowledge", "no_findings"]
Unjudged = Literal["unjudged"]


@dataclass(frozen=True)
class ProcessValues:
    """The values that Eq. 4 gives; they are not published (see `GrpoScience`)."""

    plausible: float
    tenuous: float
    flawed: float
    plausible_if_wrong: float
    other_branch: float
    unjudged: float
    """Share of the way from a term's least to its greatest value."""

    @classmethod
    def of(cls, science: GrpoScience) -> ProcessValues:
        return cls(
            plausible=science.plausible,
            tenuous=science.tenuous,
            flawed=science.flawed,
            plausible_if_wrong=science.plausible_if_wrong,
            other_branch=science.other_branch,
            unjudged=science.unjudged,
        )

    def of_findings(self, verdict: FindingsVerdict | Unjudged | None) -> float:
        """Value of a grade against VF(x); 0 where none was asked for."""
        match verdict:
            case "plausible":
                return self.plausible
            case "tenuous":
                return self.tenuous
            case "flawed":
                return self.flawed
            case "unjudged":
                return self._between(self.plausible, self.tenuous, self.flawed)
            case None:
                return 0.0

    def of_knowledge(self, verdict: KnowledgeVerdict | Unjudged | None) -> float:
        """Value of an assessment against D[y^, m]; 0 where none was asked for."""
        match verdict:
            case "plausible":
                return self.plausible_if_wrong
            case "unjudged":
                return self._between(self.plausible_if_wrong, 0.0)
            case "implausible" | None:
                return 0.0

    def _between(self, *values: float) -> float:
        return min(values) + self.unjudged * (max(values) - min(values))


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
    findings: FindingsVerdict | Unjudged | None,
    knowledge: KnowledgeVerdict | Unjudged | None,
    values: ProcessValues,
) -> float:
    """Eq. 4 and its ablations.

    Args:
        mode: ``selective`` is Eq. 4; ``vf``, ``dk`` and ``sum`` are setups H, I and J.
        correct: whether the predicted answer is the right one.
        findings: the trace's grade against VF(x); None if none was asked for.
        knowledge: its assessment against D[y^, m]; None if none was asked for, as where there is no D.
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
    """Holds a trace against a reference. Implementation: `models.judge.Judge`."""

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> Graded[FindingsVerdict]: ...

    async def grade_knowledge(
        self, trace: str, answer: str, description: str
    ) -> Graded[KnowledgeVerdict]: ...


@dataclass(frozen=True)
class Reference:
    """What a trace may be held against."""

    findings: Sequence[str]
    """VF(x), canonical keys."""
    description: str | None
    """D[y^, m] of the predicted answer; None where there is none."""


def reference(
    answer: Predicted, findings: Sequence[str], modality: str, knowledge_texts: Mapping[str, str]
) -> Reference:
    """What the trace of a rollout may be held against.

    Args:
        answer: y^.
        findings: VF(x).
        modality: m.
        knowledge_texts: ``<label>|<modality>`` -> D[y, m].
    """
    texts = [knowledge_texts.get(f"{label}|{modality}") for label in answer.labels]
    known = [text for text in texts if text is not None]
    whole = bool(known) and len(known) == len(texts)
    return Reference(findings, "\n\n".join(known) if whole else None)


@dataclass(frozen=True)
class ProcessOutcome:
    """The process reward of one rollout, and how it came about."""

    value: float
    branch: Branch
    """The reference that Eq. 4 takes for this rollout, whatever the mode makes of it."""
    cases: frozenset[Case]
    findings: Graded[FindingsVerdict] | None = None
    """The grade against VF(x); None if it was not asked for."""
    knowledge: Graded[KnowledgeVerdict] | None = None
    """The assessment against D[y^, m]; None if it was not asked for."""

    @property
    def graded(self) -> list[Graded[FindingsVerdict] | Graded[KnowledgeVerdict]]:
        """What the judge was asked for, with or without a verdict."""
        return [graded for graded in (self.findings, self.knowledge) if graded is not None]


async def process(
    mode: ProcessMode,
    trace: str | None,
    answer: Predicted,
    against: Reference,
    judge: TraceJudge,
    values: ProcessValues,
) -> ProcessOutcome:
    """The process reward of one rollout; the judge is asked only for what the mode needs.

    Args:
        mode: which process reward.
        trace: the reasoning; None if there is none.
        answer: y^.
        against: the references.
        judge: whom to ask.
        values: what the verdicts are worth.
    """
    taken = branch(answer.correct, against.description is not None)
    wants_findings = mode == "sum" or (answer.correct and mode in ("selective", "vf"))
    wants_knowledge = mode == "sum" or (not answer.correct and mode in ("selective", "dk"))
    cases = _cases(trace, answer, against, wants_findings=wants_findings, wants_knowledge=wants_knowledge)
    if mode == "none" or trace is None:
        return ProcessOutcome(0.0, taken, cases)

    async def by_findings() -> Graded[FindingsVerdict] | None:
        return await judge.grade_findings(trace, against.findings) if wants_findings else None

    async def by_knowledge() -> Graded[KnowledgeVerdict] | None:
        if not wants_knowledge or against.description is None:
            return None
        return await judge.grade_knowledge(trace, ", ".join(answer.names), against.description)

    findings, knowledge = await asyncio.gather(by_findings(), by_knowledge())
    value = process_reward(
        mode,
        correct=answer.correct,
        findings=(findings.verdict or "unjudged") if findings else None,
        knowledge=(knowledge.verdict or "unjudged") if knowledge else None,
        values=values,
    )
    return ProcessOutcome(value, taken, cases, findings, knowledge)


def _cases(
    trace: str | None, answer: Predicted, against: Reference, *, wants_findings: bool, wants_knowledge: bool
) -> frozenset[Case]:
    cases: dict[Case, bool] = {
        "no_trace": trace is None,
        "no_answer": not answer.said,
        "outside_options": answer.said and not answer.names,
        "no_knowledge": wants_knowledge and bool(answer.names) and against.description is None,
        "no_findings": wants_findings and trace is not None and not against.findings,
    }
    return frozenset(case for case, holds in cases.items() if holds)
