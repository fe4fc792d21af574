"""What a sentence denies, and where its denial ends."""

from __future__ import annotations

import pytest

from fundus_r1.ontology.findings import mentions

MA, RH, HE, CWS, NV = (
    "microaneurysm",
    "retinal_hemorrhage",
    "hard_exudate",
    "cotton_wool_spot",
    "neovascularization",
)
PRH, VH = "preretinal_hemorrhage", "vitreous_hemorrhage"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "No neovascularization, preretinal hemorrhage, or vitreous hemorrhage is observed.",
            f"-{NV} -{PRH} -{VH}",
        ),
        ("No microaneurysms are seen and hard exudates are present.", f"-{MA} +{HE}"),
        ("There are no microaneurysms, and multiple hard exudates are present.", f"-{MA} +{HE}"),
        ("Microaneurysms without hemorrhages, and hard exudates are present.", f"+{MA} -{RH} +{HE}"),
        ("Microaneurysms are present and hemorrhages are absent.", f"+{MA} -{RH}"),
        ("Microaneurysms and hemorrhages are absent.", f"-{MA} -{RH}"),
        ("Hard exudates are not seen, but hemorrhages are.", f"-{HE} +{RH}"),
        ("Neither microaneurysms nor hemorrhages are visible; hard exudates are.", f"-{MA} -{RH} +{HE}"),
        ("There are no microaneurysms; however, hard exudates surround the fovea.", f"-{MA} +{HE}"),
        ("Although there are no hemorrhages, microaneurysms are seen.", f"-{RH} +{MA}"),
        ("Microaneurysms without any sign of neovascularization.", f"+{MA} -{NV}"),
        ("The image does not show cotton-wool spots or hard exudates.", f"-{CWS} -{HE}"),
        ("The image doesn't show cotton-wool spots.", f"-{CWS}"),
        ("Cotton-wool spots aren't visible.", f"-{CWS}"),
        ("There should be no evidence of neovascularization.", f"-{NV}"),
        ("Neovascularization should not be present.", f"-{NV}"),
        ("Dot hemorrhages cannot be seen.", f"-{RH}"),
        ("microaneurysm: absent\nhard exudates: present\nneovascularization: absent", f"-{MA} +{HE} -{NV}"),
        ("microaneurysm: absent, hard exudates: present, neovascularization: absent", f"-{MA} +{HE} -{NV}"),
        ("Absent: microaneurysms, hard exudates. Present: hemorrhages.", f"-{MA} -{HE} +{RH}"),
        ("Not only microaneurysms but also hemorrhages are seen.", f"+{MA} +{RH}"),
        ("No abnormality except a few microaneurysms.", f"+{MA}"),
        ("Hard exudates are not required.", f"+{HE}"),
        ("Neovascularization cannot be excluded.", f"+{NV}"),
        ("There is no doubt that microaneurysms are present.", f"+{MA}"),
        ("The absence of neovascularization suggests that microaneurysms are early.", f"-{NV} +{MA}"),
        ("Microaneurysms rather than hemorrhages are seen.", f"+{MA} -{RH}"),
        ("No. Microaneurysms are there.", f"+{MA}"),
        ("There are no signs suggestive of neovascularization in this image.", f"-{NV}"),
        ("No finding consistent with neovascularization is seen.", f"-{NV}"),
        ("There is no sign in this image of neovascularization or vitreous hemorrhage.", f"-{NV} -{VH}"),
        ("No neovascularization is seen, suggesting that the hemorrhages are early.", f"-{NV} +{RH}"),
        ("There is no neovascularization, which makes microaneurysms the leading sign.", f"-{NV} +{MA}"),
        ("There is no neovascularization, only microaneurysms.", f"-{NV} +{MA}"),
        ("The retina is free of hemorrhages.", f"-{RH}"),
        (
            "Microaneurysms, hemorrhages, and no neovascularization, with hard exudates.",
            f"+{MA} +{RH} -{NV} +{HE}",
        ),
        ("Multiple hard exudates and mild cotton-wool spots are also visible.", f"+{HE} +{CWS}"),
    ],
)
def test_negation_by_clause(text: str, expected: str):
    assert " ".join(("-" if m.negated else "+") + m.key for m in mentions(text)) == expected


def test_the_papers_example_description():
    text = (
        "On CFP, Moderate NPDR is characterized by multiple microaneurysms and dot-blot intraretinal "
        "hemorrhages, which together reflect a greater lesion burden than that seen in mild disease. These "
        "abnormalities are typically distributed across the posterior pole and indicate progression beyond "
        "the earliest stage of diabetic retinopathy. At the same time, there should be no evidence of "
        "neovascularization. In addition to these core findings, hard exudates and cotton-wool spots may "
        "also be observed"
    )
    assert [(m.key, m.negated) for m in mentions(text)] == [
        (MA, False), (RH, False), (NV, True), (HE, False), (CWS, False)
    ]  # fmt: skip
