from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.ontology.labels import LABELS
from fundus_r1.ontology.tasks import TASKS
from fundus_r1.prompts.choice import chosen_option, same_answer, stated_label

GRADES = {"A": "Mild NPDR", "B": "Severe NPDR", "C": "PDR", "D": "No DR"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("Severe NPDR", "B"),
        ("severe npdr.", "B"),
        ("  Severe   NPDR ", "B"),
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("Option B", "B"),
        ("B. Severe NPDR", "B"),
        ("B: severe NPDR", "B"),
        ("(B) Severe NPDR", "B"),
        ("severe nonproliferative diabetic retinopathy", "B"),
        ("proliferative diabetic retinopathy", "C"),
        ("no apparent retinopathy", "D"),
        ("NPDR", None),
        ("Severe", None),
        ("Not severe NPDR", None),
        ("Severe NPDR or PDR", None),
        ("Mild NPDR, Severe NPDR", None),
        ("A. Severe NPDR", None),
        ("E", None),
        ("AB", None),
        ("glaucoma", None),
        ("", None),
        ("...", None),
    ],
)
def test_only_a_whole_match_chooses_an_option(answer: str, letter: str | None) -> None:
    assert chosen_option(answer, GRADES) == letter


@given(st.text(), st.dictionaries(st.sampled_from("ABCDE"), st.text(), max_size=5))
def test_choosing_never_raises_and_gives_a_letter_that_exists(answer: str, options: dict[str, str]) -> None:
    assert chosen_option(answer, options) in {None, *options}


@given(st.sampled_from(list(TASKS.values())), st.data())
def test_every_name_of_a_label_chooses_its_option_and_no_other(task, data) -> None:  # type: ignore[no-untyped-def]
    right = data.draw(st.sampled_from(task.labels))
    offered = sorted({right, *task.labels[:8]})
    options = {letter: LABELS[key].name for letter, key in zip("ABCDEFGHI", offered, strict=False)}
    said = data.draw(st.sampled_from((LABELS[right].name, *LABELS[right].synonyms)))
    assert same_answer(said, LABELS[right].name, options)
    for other in set(offered) - {right}:
        assert not same_answer(said, LABELS[other].name, options)


def test_an_open_question_is_answered_by_text_or_by_label() -> None:
    assert same_answer("AMD", "Age-related macular degeneration", {})
    assert same_answer("left eye", "Left eye", {})
    assert not same_answer("NPDR", "Severe NPDR", {})
    assert not same_answer("left", "right", {})


def test_a_narrower_label_is_its_broader_one_where_no_option_is_finer() -> None:
    assert chosen_option("wet AMD", {"A": "Glaucoma", "B": "Age-related macular degeneration"}) == "B"
    assert chosen_option("wet AMD", {"A": "Wet AMD", "B": "Age-related macular degeneration"}) == "A"
    assert chosen_option("Age-related macular degeneration", {"A": "Wet AMD", "B": "Dry AMD"}) is None
    assert same_answer("CRAO", "Retinal artery occlusion", {})
    assert not same_answer("Retinal artery occlusion", "Central retinal artery occlusion", {})


def test_the_stated_label_is_the_options_own_first() -> None:
    options = {"A": "Referable", "B": "Glaucoma"}
    assert stated_label("A", options, {"A": "pdr"}) == "pdr"
    assert stated_label("Referable", options, {}) is None
    assert stated_label("B", options, {}) == "glaucoma"
    assert stated_label("drusen", options, {}) == "drusen"
    assert stated_label("nothing known", options, {}) is None
