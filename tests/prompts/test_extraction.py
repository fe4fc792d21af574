from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fundus_r1.prompts.extraction import extract

OPTIONS = {"A": "Normal", "B": "Drusen", "C": "Full-thickness macular hole", "D": "Glaucoma"}
YES_NO = {"A": "Yes", "B": "No"}


@pytest.mark.parametrize(
    "text",
    [
        "B", "b", "B.", "(B)", "[B]", "**B**", "B)", " B \n", "(b)", "'B'", "`B`", "B:",
        "B. Drusen", "B: Drusen", "(B) Drusen", "B) drusen", "b. drusen", "B - Drusen", "**B.** Drusen",
        "Drusen", "drusen.", "DRUSEN", '"Drusen"', "drusen\n",
        "The answer is B.", "The answer is B", "Answer: B", "answer:b", "The correct answer is **B**",
        "The correct answer is (B) Drusen.", "Final answer: Drusen", "The answer is drusen",
        "The answer is B because A and C are not visible.", "Option B", "Option B is correct",
        "I would choose option B since mounds of the pigment epithelium are visible all over.",
        "The best choice is B.", "So it must be B", "I think it is B", "It's B!",
        "The image shows drusen under the retina.", "This OCT shows several drusen. There is no edema.",
        r"\boxed{B}", r"The answer is $\boxed{B}$", "A B-scan with drusen",
        "<answer>B</answer>", "<answer>Drusen</answer>", "<answer> B. Drusen </answer>", "<answer>drusen",
        "<think>Normal? Glaucoma? A. C. D.</think> <answer>Drusen</answer>",
        "<think>The answer is A.</think> B", "It looks like A ... </think>\n<answer>B</answer>",
        "<THINK>A</THINK><ANSWER>B</ANSWER>",
        "<think>I first wrote <answer>A</answer> but</think> The answer is B.",
        "<answer>A</answer> No: <answer>B</answer>",
        "There is no glaucoma, there are drusen.", "Not normal: drusen",
        "I see drusen", "I believe the answer is B",
    ],
)  # fmt: skip
def test_real_life_forms_of_an_answer(text):
    assert extract(text, OPTIONS) == ("B",)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("A full-thickness macular hole", ("C",)),
        ("A full-thickness  macular\nhole is seen", ("C",)),
        ("A fundus image of an eye.", ()),
        ("A retina", ()),
        ("The answer is A", ("A",)),
        ("A is right", ("A",)),
        ("A", ("A",)),
        ("a", ("A",)),
        ("The image is abnormal", ()),
        ("A or B", ()),
        ("A, B", ()),
        ("normal or drusen", ()),
        ("E", ()),
        ("E. Cataract", ()),
        ("Cataract", ()),
        ("", ()),
        ("   ", ()),
        ("...", ()),
        ("<answer></answer>", ()),
        ("<think>It is B, drusen", ()),
        ("<think>It is B.</think>", ()),
        ("<think>It is B.</think><answer>", ()),
        ("Sorry, I can't help with images of people yet.", ()),
        ("I'm sorry, but I cannot determine the answer: B?", ()),
        ("I can't process this file.", ()),
        ("I cannot say.", ()),
    ],
)
def test_other_answers_and_none(text, letters):
    assert extract(text, OPTIONS) == letters


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Yes", ("A",)),
        ("No.", ("B",)),
        ("No, there is no lesion.", ("B",)),
        ("Yes, there is no doubt.", ("A",)),
        ("Yes\nThere are microaneurysms", ("A",)),
        ("The answer is no", ("B",)),
        ("There are microaneurysms", ()),
        ("Notable findings are present", ()),
    ],
)
def test_yes_and_no(text, letters):
    assert extract(text, YES_NO) == letters


def test_a_longer_option_hides_the_shorter_one_inside_it():
    options = {"A": "Diabetic retinopathy", "B": "No diabetic retinopathy", "C": "NPDR", "D": "Mild NPDR"}
    assert extract("The eye has no diabetic retinopathy at all", options) == ("B",)
    assert extract("It shows mild NPDR in this eye", options) == ("D",)
    assert extract("Mild NPDR and not NPDR", options) == ("D",)
    assert extract("diabetic retinopathy, or NPDR", options) == ("A",)
    assert extract("both diabetic retinopathy or NPDR", options) == ()


def test_options_past_the_ninth_letter():
    options = {letter: f"disease {letter * 3}" for letter in "ABCDEFGHIJ"}
    assert extract("I", options) == ("I",)
    assert extract("I think disease CCC", options) == ("C",)
    assert extract("The answer is I.", options) == ("I",)


MANY = {"A": "AMD", "B": "Diabetic retinopathy", "C": "Glaucoma", "D": "Drusen and exudates", "E": "Myopia"}


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("A, C", ("A", "C")),
        ("C,A", ("A", "C")),
        ("A and C", ("A", "C")),
        ("AC", ("A", "C")),
        ("(A) and (C).", ("A", "C")),
        ("A\nC", ("A", "C")),
        ("A. AMD\nC. Glaucoma", ("A", "C")),
        ("AMD, Glaucoma", ("A", "C")),
        ("amd and glaucoma", ("A", "C")),
        ("The answer is A, B and E.", ("A", "B", "E")),
        ("The image shows AMD and diabetic retinopathy", ("A", "B")),
        ("AMD", ("A",)),
        ("Drusen and exudates", ("D",)),
        ("Drusen and exudates, myopia", ("D", "E")),
        ("AMD, no glaucoma", ("A",)),
        ("gland", ()),
        ("nothing", ()),
        ("<think>B, E</think><answer>A, C</answer>", ("A", "C")),
    ],
)
def test_several_answers(text, letters):
    assert extract(text, MANY, several=True) == letters


texts = st.text(
    st.characters(blacklist_characters="<>", blacklist_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]),
    min_size=1, max_size=30,
)  # fmt: skip
worded = st.lists(texts, min_size=1, max_size=4).map(" ".join)


@st.composite
def option_sets(draw) -> dict[str, str]:
    """Options whose texts differ as people read them and are no letters themselves."""

    def read(text: str) -> str:
        return " ".join(text.split()).casefold().strip(" .,:;!?*\"'`()[]{}")

    found = draw(st.lists(worded, min_size=2, max_size=8, unique_by=read))
    options = dict(zip("ABCDEFGH", found, strict=False))
    assume(all(len(read(text)) > 1 for text in found))
    return options


@given(option_sets(), st.data())
def test_letters_and_texts_of_any_options_are_read(options, data):
    letter = data.draw(st.sampled_from(sorted(options)))
    for form in (letter, f"{letter}.", f"({letter})", options[letter]):
        assert extract(f"<answer>{form}</answer>", options) == (letter,)
        assert extract(f"<answer>{form}</answer>", options, several=True) == (letter,)


@given(option_sets(), st.data())
def test_a_letter_with_its_text_is_read(options, data):
    letter = data.draw(st.sampled_from(sorted(options)))
    said = f"{letter}. {options[letter]}"
    assume(said not in options.values())
    assert extract(said, options) == (letter,)


@given(st.text(), option_sets(), st.booleans())
def test_any_text_is_read_without_an_error(text, options, several):
    letters = extract(text, options, several=several)
    assert set(letters) <= set(options)
    assert list(letters) == sorted(set(letters))
    assert several or len(letters) <= 1


@given(st.text().filter(lambda t: "think>" not in t.lower()), st.text(), option_sets(), st.booleans())
def test_the_trace_never_matters(trace, rest, options, several):
    said = f"<think>{trace}</think>{rest}"
    assert extract(said, options, several=several) == extract(
        f"<think></think>{rest}", options, several=several
    )


@given(st.text().filter(lambda t: "<" not in t), option_sets(), st.booleans())
def test_a_text_cut_off_in_its_trace_has_no_answer(trace, options, several):
    assert extract(f"<think>{trace}", options, several=several) == ()
