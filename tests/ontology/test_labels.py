"""A text is a label as a whole, however it is spelt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.ontology.findings import canonical_finding
from fundus_r1.ontology.labels import LABELS, canonical_label, lineage

NAMES = [(label.key, name) for label in LABELS.values() for name in (label.key, label.name, *label.synonyms)]


@given(
    name=st.sampled_from(NAMES),
    change=st.sampled_from(
        [str, str.upper, str.lower, lambda s: f"{s}.", lambda s: f" The {s} ", lambda s: f"**{s}**"]
    ),
)
def test_every_name_round_trips(name, change):
    key, text = name
    assert canonical_label(change(text)) == key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Diabetic Macular Edema (DME)", "dme"),
        ("Diabetic macular oedema", "dme"),
        ("Choroidal Neovascularization (CNV)", "cnv"),
        ("Choroidal neovascularisation", "cnv"),
        ("Drusen", "drusen"),
        ("No DR", "no_dr"),
        ("No apparent retinopathy", "no_dr"),
        ("Moderate nonproliferative diabetic retinopathy", "moderate_npdr"),
        ("Moderate non-proliferative diabetic retinopathy", "moderate_npdr"),
        ("Severe NPDR.", "severe_npdr"),
        ("Proliferative diabetic retinopathy (PDR)", "pdr"),
        ("Diabetic retinopathy", "diabetic_retinopathy"),
        ("Normal", "normal"),
        ("No, it's normal.", "normal"),
        ("wet AMD", "wet_amd"),
        ("Exudative age-related macular degeneration", "wet_amd"),
        ("Macular degeneration", "amd"),
        ("Retinitis Pigmentosa", "retinitis_pigmentosa"),
        ("Central retinal artery occlusion", "crao"),
        # What is no label, or not only one:
        ("NPDR", None),
        ("No.", None),
        ("Yes", None),
        ("Drusen (CNV)", None),
        ("Mild NPDR or Moderate NPDR", None),
        ("not moderate NPDR", None),
        ("Keratitis", None),
        ("", None),
        ("()", None),
    ],
)
def test_options_of_benchmarks(text: str, expected: str | None):
    assert canonical_label(text) == expected


def test_a_label_is_a_kind_of_the_broader_ones():
    assert lineage("wet_amd") == ("wet_amd", "amd")
    assert lineage("pdr") == ("pdr", "diabetic_retinopathy")
    assert lineage("glaucoma") == ("glaucoma",)
    assert all(set(lineage(key)) <= set(LABELS) for key in LABELS)


def test_a_label_whose_name_is_a_finding_is_a_sign_or_named_here():
    named = {key for key, label in LABELS.items() if canonical_finding(label.name)}
    # Their names are diagnoses too: drusen are a class beside CNV and DME.
    assert {key for key in named if not LABELS[key].sign} == {"drusen", "coloboma", "macroaneurysm"}
