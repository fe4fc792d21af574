from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.prompts.student import parse_student
from fundus_r1.prompts.verdicts import FindingsVerdict
from fundus_r1.rewards import ProcessOutcome, ProcessValues, Reference, branch, process, process_reward
from fundus_r1.spec.science import GrpoScience
from fundus_r1.spec.setups import ProcessMode

# Five values of which no sum is another one.
VALUES = ProcessValues(plausible=16.0, tenuous=8.0, flawed=4.0, plausible_if_wrong=2.0, other_branch=1.0)
GRADES: dict[FindingsVerdict | None, float] = {"plausible": 16.0, "tenuous": 8.0, "flawed": 4.0, None: 0.0}
REFERENCE = Reference(
    truth="Moderate NPDR",
    options={"A": "Mild NPDR", "B": "Moderate NPDR", "C": "Ungradable"},
    option_labels={"A": "mild_npdr", "B": "moderate_npdr"},
    modality="CFP",
    findings=("microaneurysm", "retinal_hemorrhage"),
)
TEXTS = {"mild_npdr|CFP": "D of mild", "moderate_npdr|CFP": "D of moderate", "cnv|OCT": "D of CNV"}


@dataclass
class Scripted:
    """A judge that says what it is told to, and writes down what it was asked."""

    findings: FindingsVerdict | None = "tenuous"
    knowledge: bool | None = True
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> FindingsVerdict | None:
        self.asked.append(("findings", trace, *findings))
        return self.findings

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> bool | None:
        self.asked.append(("knowledge", trace, answer, description))
        return self.knowledge


def rewarded(mode: ProcessMode, text: str, judge: Scripted) -> ProcessOutcome:
    return asyncio.run(
        process(mode, parse_student(text), REFERENCE, judge, knowledge_texts=TEXTS, values=VALUES)
    )


def said(answer: str) -> str:
    return f"<think>why</think> <answer>{answer}</answer>"


RIGHT, WRONG, UNKNOWN = said("Moderate NPDR"), said("Mild NPDR"), said("Ungradable")
FINDINGS_ASKED = ("findings", "why", "microaneurysm", "retinal_hemorrhage")


def test_the_branch_follows_the_answer() -> None:
    assert branch(True, True) == branch(True, False) == "findings"
    assert branch(False, True) == "knowledge"
    assert branch(False, False) == "none"


@pytest.mark.parametrize(
    ("correct", "grade", "plausible"), product((True, False), GRADES, (True, False, None))
)
def test_every_mode_is_its_formula(
    correct: bool, grade: FindingsVerdict | None, plausible: bool | None
) -> None:
    def value(mode: ProcessMode) -> float:
        return process_reward(mode, correct=correct, findings=grade, knowledge=plausible, values=VALUES)

    known = 2.0 if plausible else 0.0
    assert value("none") == 0.0
    assert value("selective") == (GRADES[grade] if correct else known)
    assert value("vf") == (GRADES[grade] if correct else 1.0)
    assert value("dk") == (1.0 if correct else known)
    assert value("sum") == GRADES[grade] + known


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
    assert (outcome.judge_calls, outcome.judge_failed) == (len(asked), 0)


def test_the_knowledge_is_that_of_the_predicted_answer_on_this_modality() -> None:
    judge = Scripted()
    assert rewarded("selective", said("choroidal neovascularization"), judge).value == 0.0
    assert judge.asked == []


@pytest.mark.parametrize("mode", ["none", "selective", "vf", "dk", "sum"])
@pytest.mark.parametrize("text", ["<answer>Moderate NPDR</answer>", "<answer>Mild NPDR</answer>", ""])
def test_without_a_trace_there_is_nothing_to_reward(mode: ProcessMode, text: str) -> None:
    judge = Scripted()
    assert rewarded(mode, text, judge).value == 0.0
    assert judge.asked == []


def test_a_trace_without_an_answer_is_wrong() -> None:
    outcome = rewarded("selective", "<think>why</think>", Scripted())
    assert (outcome.value, outcome.branch) == (0.0, "none")


def test_an_unreadable_verdict_counts_nothing_and_is_counted() -> None:
    judge = Scripted(findings=None, knowledge=None)
    right, wrong, both = (rewarded(m, t, judge) for m, t in (("vf", RIGHT), ("dk", WRONG), ("sum", WRONG)))
    assert (right.value, right.branch, right.judge_failed) == (0.0, "findings", 1)
    assert (wrong.value, wrong.branch, wrong.judge_failed) == (0.0, "knowledge", 1)
    assert (both.value, both.judge_calls, both.judge_failed) == (0.0, 2, 2)


def test_a_judge_that_does_not_answer_stops_training() -> None:
    class Dead(Scripted):
        async def grade_findings(self, trace: str, findings: Sequence[str]) -> FindingsVerdict | None:
            raise ModelError("no answer")

    with pytest.raises(ModelError):
        rewarded("selective", RIGHT, Dead())


def test_the_values_are_the_specs() -> None:
    science = GrpoScience(plausible=5, tenuous=4, flawed=3, plausible_if_wrong=2, other_branch=1)
    assert ProcessValues.of(science) == ProcessValues(5, 4, 3, 2, 1)
