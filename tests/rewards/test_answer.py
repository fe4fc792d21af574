from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.benchmarks.scores import judge
from fundus_r1.rewards import answer_reward, predicted
from fundus_r1.rows import Modality, Prompt, Question, Split

GRADES = {"A": "No DR", "B": "Mild NPDR", "C": "Severe NPDR", "D": "PDR"}
SIGNS = {"A": "Drusen", "B": "Macular hole", "C": "Glaucoma"}


def asked(answer: str, options: dict[str, str] = GRADES, **more: object) -> Prompt:
    fields = {"option_labels": {}, "modality": Modality.CFP, "findings": (), "split": Split.TRAIN, **more}
    return Prompt(triplet_id="t", sample_id="s", prompt="?", answer=answer, options=options, **fields)  # type: ignore[arg-type]


def reward(text: str, prompt: Prompt) -> float:
    return answer_reward(predicted(text, prompt))


ANSWERS = ["Severe NPDR", "C", "c.", "C. Severe NPDR", "grade 3: severe NPDR", "The answer is (C).", "NPDR",
           "Mild NPDR", "B", "B. Severe NPDR", "Severe NPDR or PDR", "A, B, C, D", "", "..."]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS[:6])
def test_the_right_option_in_any_writing_is_rewarded(answer: str) -> None:
    assert reward(f"<answer>{answer}</answer>", asked("Severe NPDR")) == 1.0


@pytest.mark.parametrize("answer", ANSWERS[6:])
def test_anything_else_is_not(answer: str) -> None:
    assert reward(f"<answer>{answer}</answer>", asked("Severe NPDR")) == 0.0


@given(st.text() | st.sampled_from([*GRADES, *GRADES.values(), *ANSWERS]), st.booleans())
def test_what_the_evaluation_counts_right_is_rewarded_and_nothing_else(answer: str, tags: bool) -> None:
    text = f"<think>why</think> <answer>{answer}</answer>" if tags else answer
    for letter, truth in GRADES.items():
        question = Question(
            question_id="q", benchmark="funbench", source="given", task="L4a", question="?", options=GRADES,
            answers=(letter,), image="i", digest="d", pixels="p", media_type="image/png",
        )  # fmt: skip
        assert bool(reward(text, asked(truth))) == judge("m", question, text, several=False).correct


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Drusen, Glaucoma", 1.0),
        ("C and A", 1.0),
        ("AC", 1.0),
        ("A", 0.0),
        ("A, B, C", 0.0),
        ("B", 0.0),
        ("", 0.0),
    ],
)
def test_of_several_right_options_exactly_these_are_right(answer: str, expected: float) -> None:
    prompt = asked("Drusen, Glaucoma", SIGNS, right=("A", "C"))
    assert reward(f"<answer>{answer}</answer>", prompt) == expected


@pytest.mark.parametrize("right", [(), ("D",), ("A", "D")])
def test_right_options_that_do_not_exist_are_refused(right: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no choice among"):
        asked("Drusen", SIGNS, right=right)


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("AMD", "Age-related macular degeneration", 1.0),
        ("left  EYE.", "Left eye", 1.0),
        ("NPDR", "Severe NPDR", 0.0),
        ("wet AMD", "Age-related macular degeneration", 0.0),
        ("Retinal artery occlusion", "Central retinal artery occlusion", 0.0),
        ("left", "right", 0.0),
        ("", "right", 0.0),
    ],
)
def test_an_open_question_is_answered_by_its_words_or_its_label(
    answer: str, truth: str, expected: float
) -> None:
    assert reward(f"<answer>{answer}</answer>", asked(truth, {})) == expected


def test_the_predicted_label_is_the_options_own_first() -> None:
    prompt = asked("Glaucoma", {"A": "Referable", "B": "Glaucoma", "C": "Other"}, option_labels={"A": "pdr"})
    labels = {letter: predicted(f"<answer>{letter}</answer>", prompt).labels for letter in "ABC"}
    assert labels == {"A": ("pdr",), "B": ("glaucoma",), "C": ()}


def test_no_answer_is_told_from_an_answer_that_is_none_of_the_options() -> None:
    silent, outside, chosen = (
        predicted(text, asked("PDR")) for text in ("<answer>?</answer>", "a cat", "PDR")
    )
    assert (silent.said, outside.said, chosen.said) == (False, True, True)
    assert (silent.names, outside.names, chosen.names) == ((), (), ("PDR",))
