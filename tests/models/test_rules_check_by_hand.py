"""Traces written by hand: each reason has one that triggers it alone, and a near miss that passes.

The examples of the paper's Tab. 3 are among them, in other words: what it shows as its own passes,
what it shows as free-form is rejected.
"""

from __future__ import annotations

import pytest

from fundus_r1.models.rules_check import check
from fundus_r1.models.rules_judge import check_trace
from fundus_r1.ontology.labels import LABELS
from fundus_r1.prompts.material import Material, read_check
from fundus_r1.prompts.student import student_response
from fundus_r1.rows import Knowledge, Modality, Reason, Triplet


def material(
    label: str,
    modality: Modality,
    present: tuple[str, ...],
    *,
    required: tuple[str, ...],
    supportive: tuple[str, ...] = (),
    absent: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    answer: str | None = None,
) -> Material:
    letters = dict(zip("ABCDEF", options, strict=False))
    triplet = Triplet(
        triplet_id="one#0", sample_id="one", task="by_hand", modality=modality, label=label,
        question="What does this image show?", answer=answer or LABELS[label].name,
        options={letter: LABELS[key].name for letter, key in letters.items()}, option_labels=letters,
    )  # fmt: skip
    knowledge = Knowledge(
        label=label, modality=modality, query="", description="", required=required, supportive=supportive,
        absent=absent, evidence={}, passages=(), model="none",
    )  # fmt: skip
    return Material(triplet, present, "pixel", knowledge)


MODERATE = material(
    "moderate_npdr",
    Modality.CFP,
    ("microaneurysm", "retinal_hemorrhage"),
    required=("microaneurysm", "retinal_hemorrhage"),
    supportive=("hard_exudate", "cotton_wool_spot"),
    absent=("neovascularization", "preretinal_hemorrhage", "vitreous_hemorrhage"),
    options=("no_dr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr"),
)
WET_AMD = material(
    "wet_amd",
    Modality.OCT,
    ("pigment_epithelial_detachment", "intraretinal_fluid", "subretinal_fluid"),
    required=("pigment_epithelial_detachment", "subretinal_fluid"),
    supportive=("intraretinal_fluid", "subretinal_hyperreflective_material"),
    answer="Exudative AMD",
)
GLAUCOMA = material(
    "glaucoma",
    Modality.UWF,
    ("optic_disc_cupping", "rim_thinning"),
    required=("optic_disc_cupping", "rim_thinning"),
)
NORMAL = material(
    "normal", Modality.OCT, (), required=(), absent=("drusen", "subretinal_fluid"), options=("normal", "cnv")
)

SEEN = "The color fundus photograph shows microaneurysms and dot hemorrhages. "
LINK = "Together they are typical of moderate NPDR. "
END = "The answer is therefore moderate NPDR."


def found(case: Material, think: str, answer: str | None = None) -> set[Reason]:
    text = student_response(think, answer or case.triplet.answer)
    reasons = check(case, text)
    assert read_check(check_trace({**case.inputs(), "trace": text})) == reasons
    return {reason for reason, _ in reasons}


@pytest.mark.parametrize(
    ("case", "think"),
    [
        (
            MODERATE,
            "Several microaneurysms and dot-blot hemorrhages lie around the posterior pole. There is no "
            "neovascularization, preretinal hemorrhage, or vitreous hemorrhage. Compared with mild NPDR, "
            "their greater number and wider spread support moderate NPDR.",
        ),
        (
            WET_AMD,
            "The OCT scan reveals a sizeable pigment epithelial detachment (PED) with subretinal fluid (SRF) "
            "and intraretinal fluid (IRF). Such a combination is characteristic of exudative AMD and "
            "indicates that the neovascular process is active.",
        ),
        (
            GLAUCOMA,
            "The optic disc has a clearly enlarged cup-to-disc ratio with rim thinning above and below, in a "
            "glaucomatous pattern. This indicates damage to the optic nerve that is "
            "consistent with glaucoma.",
        ),
    ],
    ids=["moderate", "exudative", "glaucoma"],
)
def test_the_paper_s_own_traces_pass(case: Material, think: str) -> None:
    assert found(case, think) == set()


@pytest.mark.parametrize(
    ("case", "think", "expected"),
    [
        (
            MODERATE,
            "Scattered microaneurysms and dot hemorrhages are seen near the posterior pole, and many hard "
            "exudates with a few cotton-wool spots as well. Venous beading and intraretinal microvascular "
            "abnormalities suggest damage that is further advanced than the image bears out. Therefore, this "
            "is interpreted as moderate NPDR.",
            {Reason.FINDING_INCORRECT, Reason.KNOWLEDGE_OMITTED},
        ),
        (
            WET_AMD,
            "The OCT shows subretinal hyperreflective material under an elevated pigment epithelium and some "
            "intraretinal fluid. There is outer retinal thinning and ellipsoid zone disruption, but no sign "
            "of leakage is claimed. The findings are interpreted as exudative AMD.",
            {Reason.REQUIRED_OMITTED, Reason.FINDING_INCORRECT, Reason.KNOWLEDGE_OMITTED},
        ),
        (
            GLAUCOMA,
            "The ultra-widefield image shows a rather large optic disc with an increased cup-to-disc ratio "
            "and slight rim thinning above. The absence of retinal lesions supports glaucoma. The conclusion "
            "is glaucoma.",
            {Reason.KNOWLEDGE_MISMATCH},
        ),
    ],
    ids=["moderate", "exudative", "glaucoma"],
)
def test_the_paper_s_free_form_traces_are_rejected(case: Material, think: str, expected: set[Reason]) -> None:
    assert found(case, think) == expected


ALONE: list[tuple[Reason, Material, str, str]] = [
    # reason, material, what triggers it alone, what comes close and passes
    (
        Reason.MODALITY,
        MODERATE,
        "Microaneurysms and retinal hemorrhages are seen, as OCT would confirm. " + LINK + END,
        "Microaneurysms and retinal hemorrhages are seen, as a second look would confirm. " + LINK + END,
    ),
    (
        Reason.REQUIRED_OMITTED,
        MODERATE,
        "The color fundus photograph shows microaneurysms. " + LINK + END,
        "The color fundus photograph shows microaneurysms and blot hemorrhages. " + LINK + END,
    ),
    (
        Reason.FINDING_INCORRECT,
        MODERATE,
        SEEN + "Hard exudates are visible too. " + LINK + END,
        SEEN + "No hard exudates are visible. " + LINK + END,
    ),
    (
        Reason.FINDING_INCORRECT,
        NORMAL,
        "The OCT scan shows drusen. It is otherwise typical of a normal eye. The answer is Normal.",
        "The OCT scan shows no drusen. It is typical of a normal eye. The answer is Normal.",
    ),
    (
        Reason.FINDING_REDUNDANT,
        MODERATE,
        SEEN + "Many microaneurysms are seen. " + LINK + END,
        SEEN + "Microaneurysms of such a number are typical of moderate NPDR. " + END,
    ),
    (
        Reason.KNOWLEDGE_OMITTED,
        MODERATE,
        SEEN + END,
        SEEN + "The answer is therefore moderate NPDR, of which these signs are characteristic.",
    ),
    (
        Reason.KNOWLEDGE_MISMATCH,
        MODERATE,
        SEEN + "Together they are typical of severe NPDR. " + END,
        SEEN + "Together they are typical of moderate rather than severe NPDR. " + LINK + END,
    ),
    (
        Reason.KNOWLEDGE_MISMATCH,
        MODERATE,
        SEEN + "The absence of drusen supports moderate NPDR. " + END,
        SEEN + "The absence of neovascularization supports moderate NPDR. " + END,
    ),
    (
        Reason.KNOWLEDGE_MISMATCH,
        MODERATE,
        SEEN + LINK + "The lack of abnormal vessels points to moderate NPDR.",
        SEEN + LINK + "The lack of further lesions points to moderate NPDR.",
    ),
    (
        Reason.NOT_DERIVED,
        MODERATE,
        SEEN + "Together they are typical of diabetic retinopathy.",
        SEEN + "Together they are typical of diabetic retinopathy, here of moderate NPDR.",
    ),
    (
        Reason.NOT_DERIVED,
        MODERATE,
        LINK + END + " " + SEEN,
        LINK + SEEN + END,
    ),
    (
        Reason.NOT_DERIVED,
        MODERATE,
        SEEN + LINK + "Still, moderate NPDR cannot be confirmed here.",
        SEEN + LINK + "Severe NPDR is unlikely.",
    ),
    (
        Reason.NOT_DERIVED,
        MODERATE,
        SEEN + "It is unclear whether they are typical of moderate NPDR.",
        SEEN + "It is clear that they are typical of moderate NPDR.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "case", "bad", "good"), ALONE)
def test_each_reason_can_be_the_only_one_and_a_near_miss_passes(
    reason: Reason, case: Material, bad: str, good: str
) -> None:
    assert found(case, bad) == {reason}
    assert found(case, good) == set()


def test_an_answer_is_taken_word_by_word() -> None:
    assert found(MODERATE, SEEN + LINK + END, "moderate NPDR") == {Reason.ANSWER_MISMATCH}
    assert found(MODERATE, SEEN + LINK + END, "Severe NPDR") == {Reason.ANSWER_MISMATCH}
    assert found(MODERATE, SEEN + LINK + END, "Moderate NPDR") == set()


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{SEEN + LINK + END}</think> <answer>Moderate NPDR</answer> I hope this helps.",
        f"Sure! <think>{SEEN + LINK + END}</think> <answer>Moderate NPDR</answer>",
        f"<think>{SEEN}</think> <think>{LINK + END}</think> <answer>Moderate NPDR</answer>",
    ],
)
def test_words_around_the_tags_are_a_matter_of_format(text: str) -> None:
    assert Reason.FORMAT in {reason for reason, _ in check(MODERATE, text)}
    assert found(MODERATE, f"\n{SEEN + LINK + END}\n") == set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "I cannot help with that.",
        "<think></think> <answer></answer>",
        "<think>眼底图像显示微动脉瘤和出血。因此诊断为中度NPDR。</think> <answer>Moderate NPDR</answer>",
        "<think>Das Bild zeigt Mikroaneurysmen. Daher mittelschwere NPDR.</think> "
        "<answer>Moderate NPDR</answer>",
        '{"trace": "microaneurysms"}',
        "<think>" * 2000,
    ],
)
def test_an_answer_of_no_use_is_rejected_for_its_format(text: str) -> None:
    assert check(MODERATE, text)[0][0] is Reason.FORMAT


def test_a_normal_eye_needs_no_finding_but_a_conclusion() -> None:
    regular = "The OCT scan shows a regular picture. There is no drusen and no subretinal fluid. "
    ending = "An image without abnormal signs is expected of a normal eye. "
    assert found(NORMAL, regular + ending) == set()
    assert found(NORMAL, regular + ending + "Hence the answer is Normal.") == set()
    assert found(NORMAL, regular) == {Reason.KNOWLEDGE_OMITTED, Reason.NOT_DERIVED}
    assert found(NORMAL, "The absence of fluid is typical of a normal eye.") == set()
