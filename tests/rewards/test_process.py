"""Eq. 4 as a formula, and which reference the judge is asked about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import pytest

from fundus_r1.prompts.student import parse_student
from fundus_r1.prompts.verdicts import FindingsVerdict, Graded, KnowledgeVerdict
from fundus_r1.rewards import (
    ProcessOutcome,
    ProcessValues,
    branch,
    predicted,
    process,
    process_reward,
    reference,
)
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec.setups import ProcessMode
from fundus_r1.spec.training import GrpoScience

# Five values of which no sum is another one; a missing verdict lies a quarter of the way up.
VALUES = ProcessValues(
    plausible=16.0, tenuous=8.0, flawed=4.0, plausible_if_wrong=2.0, other_branch=1.0, unjudged=0.25
)
GRADES = {"plausible": 16.0, "tenuous": 8.0, "flawed": 4.0, "unjudged": 7.0, None: 0.0}
ASSESSMENTS = {"plausible": 2.0, "implausible": 0.0, "unjudged": 0.5, None: 0.0}
PROMPT = Prompt(
    triplet_id="t",
    sample_id="s",
    prompt="?",
    answer="Moderate NPDR",
    options={"A": "Mild NPDR", "B": "Moderate NPDR", "C": "Ungradable"},
    option_labels={"A": "mild_npdr", "B": "moderate_npdr"},
    modality=Modality.CFP,
    findings=("microaneurysm", "retinal_hemorrhage"),
    split=Split.TRAIN,
)
TEXTS = {"mild_npdr|CFP": "D of mild", "moderate_npdr|CFP": "D of moderate", "cnv|OCT": "D of CNV"}


@dataclass
class Scripted:
    """A judge that says what it is told to, and writes down what it was asked."""

    findings: FindingsVerdict | None = "tenuous"
    knowledge: KnowledgeVerdict | None = "plausible"
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> Graded[FindingsVerdict]:
        self.asked.append(("findings", trace, *findings))
        return Graded(self.findings, by_rules="plausible")

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> Graded[KnowledgeVerdict]:
        self.asked.append(("knowledge", trace, answer, description))
        return Graded(self.knowledge, by_rules="plausible")


def rewarded(mode: ProcessMode, text: str, judge: Scripted) -> ProcessOutcome:
    answer = predicted(text, PROMPT)
    against = reference(answer, PROMPT.findings, PROMPT.modality, TEXTS)
    return asyncio.run(process(mode, parse_student(text).think, answer, against, judge, VALUES))


def said(answer: str) -> str:
    return f"<think>why</think> <answer>{answer}</answer>"


RIGHT, WRONG, UNKNOWN = said("Moderate NPDR"), said("Mild NPDR"), said("Ungradable")
FINDINGS_ASKED = ("findings", "why", "microaneurysm", "retinal_hemorrhage")


def test_the_branch_follows_the_answer() -> None:
    assert branch(True, True) == branch(True, False) == "findings"
    assert branch(False, True) == "knowledge"
    assert branch(False, False) == "none"


@pytest.mark.parametrize(("correct", "grade", "assessed"), product((True, False), GRADES, ASSESSMENTS))
def test_every_mode_is_its_formula(correct: bool, grade: str | None, assessed: str | None) -> None:
    def value(mode: ProcessMode) -> float:
        return process_reward(mode, correct=correct, findings=grade, knowledge=assessed, values=VALUES)  # type: ignore[arg-type]

    by_findings, by_knowledge = GRADES[grade], ASSESSMENTS[assessed]
    assert value("none") == 0.0
    assert value("selective") == (by_findings if correct else by_knowledge)
    assert value("vf") == (by_findings if correct else 1.0)
    assert value("dk") == (1.0 if correct else by_knowledge)
    assert value("sum") == by_findings + by_knowledge


@pytest.mark.parametrize(
    ("share", "findings", "knowledge"), [(0.0, 4.0, 0.0), (0.5, 10.0, 1.0), (1.0, 16.0, 2.0)]
)
def test_a_missing_verdict_lies_between_the_terms_least_and_greatest(
    share: float, findings: float, knowledge: float
) -> None:
    values = ProcessValues(16.0, 8.0, 4.0, 2.0, 1.0, unjudged=share)
    assert (values.of_findings("unjudged"), values.of_knowledge("unjudged")) == (findings, knowledge)


def test_the_least_value_may_be_any_of_them() -> None:
    values = ProcessValues(1.0, 2.0, 3.0, -1.0, 0.0, unjudged=0.0)
    assert (values.of_findings("unjudged"), values.of_knowledge("unjudged")) == (1.0, -1.0)


@pytest.mark.parametrize(
    ("mode", "text", "value", "taken", "asked"),
    [
        ("none", RIGHT, 0.0, "findings", []),
        ("none", WRONG, 0.0, "knowledge", []),
        ("selective", RIGHT, 8.0, "findings", [FINDINGS_ASKED]),
        ("selective", WRONG, 2.0, "knowledge", [("knowledge", "why", "Mild NPDR", "D of mild")]),
        ("selective", UNKNOWN, 0.0, "none", []),
        ("vf", RIGHT, 8.0, "findings", [FINDINGS_ASKED]),
        ("vf", WRONG, 1.0, "knowledge", []),
        ("dk", RIGHT, 1.0, "findings", []),
        ("dk", WRONG, 2.0, "knowledge", [("knowledge", "why", "Mild NPDR", "D of mild")]),
        ("dk", UNKNOWN, 0.0, "none", []),
        ("sum", RIGHT, 10.0, "findings",
         [FINDINGS_ASKED, ("knowledge", "why", "Moderate NPDR", "D of moderate")]),
        ("sum", WRONG, 10.0, "knowledge", [FINDINGS_ASKED, ("knowledge", "why", "Mild NPDR", "D of mild")]),
        ("sum", UNKNOWN, 8.0, "none", [FINDINGS_ASKED]),
    ],
)  # fmt: skip
def test_the_judge_is_asked_only_for_what_the_mode_needs(
    mode: ProcessMode, text: str, value: float, taken: str, asked: list[tuple[str, ...]]
) -> None:
    judge = Scripted()
    outcome = rewarded(mode, text, judge)
    assert (outcome.value, outcome.branch, sorted(judge.asked)) == (value, taken, sorted(asked))
    assert len(outcome.graded) == len(asked)


def test_the_knowledge_is_that_of_an_answer_that_the_question_allows() -> None:
    judge = Scripted()
    outcome = rewarded("selective", said("choroidal neovascularization"), judge)
    assert (outcome.value, outcome.cases, judge.asked) == (0.0, {"outside_options"}, [])


def test_several_labels_have_the_knowledge_of_all_of_them_or_none() -> None:
    several = PROMPT.model_copy(update={"right": ("B", "C")})
    both, one_unknown = (predicted(f"<answer>{said}</answer>", several) for said in ("A, B", "A, C"))
    assert reference(both, (), "CFP", TEXTS).description == "D of mild\n\nD of moderate"
    assert reference(both, (), "OCT", TEXTS).description is None
    assert reference(one_unknown, (), "CFP", TEXTS).description is None


@pytest.mark.parametrize("mode", ["none", "selective", "vf", "dk", "sum"])
@pytest.mark.parametrize("text", ["<answer>Moderate NPDR</answer>", "<answer>Mild NPDR</answer>", ""])
def test_without_a_trace_there_is_nothing_to_reward(mode: ProcessMode, text: str) -> None:
    judge = Scripted()
    outcome = rewarded(mode, text, judge)
    assert outcome.value == 0.0 and "no_trace" in outcome.cases
    assert judge.asked == []


def test_a_trace_without_an_answer_is_wrong() -> None:
    outcome = rewarded("selective", "<think>why</think>", Scripted())
    assert (outcome.value, outcome.branch, outcome.cases) == (0.0, "none", {"no_answer"})


def test_missing_knowledge_is_told_only_where_it_is_wanted() -> None:
    cases = {
        mode: rewarded(mode, UNKNOWN, Scripted()).cases for mode in ("none", "vf", "dk", "selective", "sum")
    }
    assert {mode for mode, found in cases.items() if found} == {"dk", "selective", "sum"}
    assert set().union(*cases.values()) == {"no_knowledge"}


def test_a_missing_verdict_is_neutral() -> None:
    judge = Scripted(findings=None, knowledge=None)
    right, wrong, both = (rewarded(m, t, judge) for m, t in (("vf", RIGHT), ("dk", WRONG), ("sum", WRONG)))
    assert (right.value, wrong.value, both.value) == (7.0, 0.5, 7.5)
    assert [len(outcome.graded) for outcome in (right, wrong, both)] == [1, 1, 2]


def test_the_values_are_the_specs() -> None:
    science = GrpoScience(
        plausible=5, tenuous=4, flawed=3, plausible_if_wrong=2, other_branch=1, unjudged=0.75
    )
    assert ProcessValues.of(science) == ProcessValues(5, 4, 3, 2, 1, 0.75)
