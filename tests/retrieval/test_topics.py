"""Words that stand for labels."""

from __future__ import annotations

import pytest

from fundus_r1.ontology.labels import LABELS
from fundus_r1.retrieval.topics import SPELLED_OUT, broader, is_about, phrasings


@pytest.mark.parametrize("label", LABELS)
def test_every_label_can_be_searched_for_and_is_about_itself(label: str):
    names = phrasings(label)
    assert 1 <= len(names) <= SPELLED_OUT + 1 and len(set(names)) == len(names)
    assert LABELS[label].name in names and broader(label)
    assert is_about(LABELS[label].name, label)
    assert all(is_about(name, label) for name in names)


def test_abbreviations_are_not_searched_for_where_there_are_words():
    assert phrasings("pdr")[0] == "proliferative diabetic retinopathy"
    assert phrasings("cnv")[0] == "Choroidal neovascularization"


def test_grades_have_their_disease_in_common():
    assert broader("moderate_npdr") == broader("pdr") == "diabetic retinopathy"
    assert broader("drusen") == "macular drusen"


@pytest.mark.parametrize(
    ("text", "label", "about"),
    [
        ("Diabetic Retinopathy. Signs. Microaneurysms are red dots.", "moderate_npdr", True),
        ("In moderate DR there are hemorrhages.", "moderate_npdr", True),
        ("Moderate visual loss in an eye with cataract.", "moderate_npdr", False),
        ("Neovascularization is decisive for PDR.", "cnv", False),
        ("Vitreous detachment with flashes.", "retinal_detachment", False),
        ("The macula has a hole of full thickness: a macular hole.", "macular_hole", True),
        ("", "drusen", False),
    ],
)
def test_what_a_text_is_about(text: str, label: str, about: bool):
    assert is_about(text, label) is about
