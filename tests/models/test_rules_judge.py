from __future__ import annotations

import json

import pytest

from fundus_r1.models.rules_judge import findings_verdict, judge_findings, judge_knowledge, knowledge_verdict

SHOWN = frozenset({"microaneurysm", "retinal_hemorrhage"})
MODERATE = (
    # The paper's own example of D[y, m], Sec. 3.2.1.
    "On CFP, Moderate NPDR is characterized by multiple microaneurysms and dot-blot intraretinal "
    "hemorrhages, which together reflect a greater lesion burden than that seen in mild disease. These "
    "abnormalities are typically distributed across the posterior pole and indicate progression beyond the "
    "earliest stage of diabetic retinopathy. At the same time, there should be no evidence of "
    "neovascularization. In addition to these core findings, hard exudates and cotton-wool spots may also "
    "be observed"
)
NORMAL = (
    "On OCT, Normal shows a picture without abnormal signs. There should be no drusen or subretinal fluid."
)


@pytest.mark.parametrize(
    ("trace", "verdict"),
    [
        (
            "Microaneurysms and dot hemorrhages are seen. No neovascularization. So moderate NPDR.",
            "plausible",
        ),
        ("There are microaneurysms.", "plausible"),
        ("There are microaneurysms and hard exudates.", "tenuous"),
        ("There are hard exudates.", "flawed"),
        ("There are microaneurysms. No retinal hemorrhages are seen.", "flawed"),
        ("It looks like moderate NPDR.", "flawed"),
        ("No neovascularization is seen.", "flawed"),
    ],
)
def test_a_trace_against_the_findings(trace: str, verdict: str) -> None:
    assert findings_verdict(trace, SHOWN) == verdict
    answer = judge_findings({"trace": trace, "findings": sorted(SHOWN)})
    assert json.loads(answer) == {"verdict": verdict}


def test_an_eye_without_findings_wants_a_trace_without() -> None:
    assert findings_verdict("No microaneurysms are seen. The eye is healthy.", frozenset()) == "plausible"
    assert findings_verdict("Microaneurysms are seen.", frozenset()) == "flawed"


def test_the_name_of_a_disease_is_no_finding() -> None:
    assert findings_verdict("It looks regular. Therefore the answer is Drusen.", frozenset()) == "plausible"
    assert findings_verdict("Drusen are seen. Therefore the answer is Drusen.", frozenset()) == "flawed"


@pytest.mark.parametrize(
    ("trace", "verdict"),
    [
        ("Microaneurysms and retinal hemorrhages are seen.", "plausible"),
        ("Microaneurysms, retinal hemorrhages and hard exudates are seen, no new vessels.", "plausible"),
        ("Microaneurysms are seen.", "implausible"),
        ("Microaneurysms, retinal hemorrhages and new vessels are seen.", "implausible"),
        ("Microaneurysms, retinal hemorrhages and drusen are seen.", "implausible"),
        ("The eye looks regular.", "implausible"),
        ("No microaneurysms, but retinal hemorrhages are seen.", "implausible"),
    ],
)
def test_a_trace_against_the_knowledge_of_its_answer(trace: str, verdict: str) -> None:
    assert knowledge_verdict(trace, MODERATE) == verdict
    answer = judge_knowledge({"trace": trace, "answer": "Moderate NPDR", "description": MODERATE})
    assert json.loads(answer) == {"verdict": verdict}


def test_a_normal_eye_is_plausible_by_what_is_missing() -> None:
    assert knowledge_verdict("There are no drusen.", NORMAL) == "plausible"
    assert knowledge_verdict("The layers look regular.", NORMAL) == "plausible"
    assert knowledge_verdict("There are drusen.", NORMAL) == "implausible"
    assert knowledge_verdict("There is retinal thickening.", NORMAL) == "implausible"
