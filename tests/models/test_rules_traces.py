"""The wording of composed traces; that they pass the check is tested in test_rules_check."""

from __future__ import annotations

from typing import Any

import pytest

from fundus_r1.models.rules_traces import compose_trace
from fundus_r1.prompts.student import parse_student
from fundus_r1.rows import Knowledge, Modality, Triplet


def inputs(present: tuple[str, ...], *, label: str = "moderate_npdr", answer: str = "Moderate NPDR") -> Any:
    triplet = Triplet(
        triplet_id="idrid/a.png#0", sample_id="idrid/a.png", task="dr_grading", modality=Modality.CFP,
        label=label, question="Which grade?", options={}, answer=answer,
    )  # fmt: skip
    knowledge = Knowledge(
        label=label, modality=Modality.CFP, query="", description="", required=("microaneurysm",),
        supportive=("hard_exudate", "cotton_wool_spot", "drusen"), absent=("neovascularization",),
        evidence={}, passages=(), model="none",
    )  # fmt: skip
    return {"triplet": triplet, "present": present, "source": "pixel", "knowledge": knowledge}


@pytest.mark.parametrize(
    ("present", "trace"),
    [
        (
            ("hard_exudate", "microaneurysm", "drusen", "cotton_wool_spot"),
            "The fundus photograph shows microaneurysms. There are also hard exudates, drusen, and "
            "cotton-wool spots. No neovascularization is observed. By what is known of CFP imaging, "
            "this picture is characteristic of Moderate NPDR. Hence the answer is Moderate NPDR.",
        ),
        (
            ("microaneurysm",),
            "The fundus photograph shows microaneurysms. No neovascularization is observed. This "
            "finding is decisive for Moderate NPDR on CFP. It follows that the answer is Moderate NPDR.",
        ),
        (
            ("hard_exudate", "drusen"),
            "The fundus photograph shows hard exudates and drusen. No neovascularization is observed. "
            "On CFP, this is consistent with Moderate NPDR. It follows that the answer is Moderate "
            "NPDR.",
        ),
        (
            (),
            "The fundus photograph shows a regular picture. No neovascularization is observed. On CFP, "
            "this is consistent with Moderate NPDR. It follows that the answer is Moderate NPDR.",
        ),
        (
            ("neovascularization",),
            "The fundus photograph shows neovascularization. On CFP, this is consistent with Moderate "
            "NPDR. The answer is therefore Moderate NPDR.",
        ),
    ],
)
def test_the_three_steps(present: tuple[str, ...], trace: str) -> None:
    parsed = parse_student(compose_trace(inputs(present)))
    assert (parsed.think, parsed.answer, parsed.well_formed) == (trace, "Moderate NPDR", True)


def test_a_normal_eye_reads_well() -> None:
    text = compose_trace(inputs((), label="normal", answer="Normal"))
    assert " a Normal eye." in text and text.endswith("<answer>Normal</answer>")
