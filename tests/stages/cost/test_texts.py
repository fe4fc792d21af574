"""Tokens of images and prompts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_r1.prompts import prompt_text
from fundus_r1.spec.cost import CostAssumptions
from fundus_r1.stages.cost.texts import FACTOR, Texts, image_tokens

SIDES = st.integers(min_value=28, max_value=6000)


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (224, 224, 64),
        (512, 496, 18 * 18),
        (28, 28, 4),  # scaled up to the least
        (4288, 2848, 153 * 102),  # 15,606 tokens: IDRiD's photos just fit
    ],
)
def test_an_image_has_a_token_for_each_28_pixels_square(width: int, height: int, tokens: int) -> None:
    assert image_tokens(width, height, 4, 16384) == tokens


@settings(deadline=None)
@given(SIDES, SIDES)
def test_an_image_keeps_within_the_limits(width: int, height: int) -> None:
    assert image_tokens(width, height, 4, 1280) <= 1280


@pytest.mark.engines
@pytest.mark.parametrize(
    ("width", "height"), [(224, 224), (512, 496), (100, 30), (4288, 2848), (5000, 5000), (333, 777)]
)
def test_an_image_has_as_many_tokens_as_in_the_processor_of_qwen(width: int, height: int) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    least, most = 4, 1280
    down, across = smart_resize(
        height, width, factor=FACTOR, min_pixels=least * FACTOR**2, max_pixels=most * FACTOR**2
    )
    assert image_tokens(width, height, least, most) == down * across // FACTOR**2


@pytest.mark.parametrize(
    "name",
    ["knowledge", "findings", "trace", "check", "free", "judge_findings", "judge_knowledge", "student"],
)
def test_a_prompt_is_counted_with_its_places_filled(name: str) -> None:
    """A place that the estimate knows no length for is an error, not a gap."""
    texts = Texts(("idrid", "kermany", "top"), CostAssumptions(characters_per_token=1))
    filled = texts.prompt(name, findings=10, passages=2)
    assert filled > texts.prompt(name) - 1
    assert filled > len(prompt_text(name)) / 2


def test_a_question_about_more_findings_is_longer_and_so_is_its_answer() -> None:
    texts = Texts(("idrid",), CostAssumptions())
    assert texts.prompt("findings", findings=20) > texts.prompt("findings", findings=10)
    assert texts.findings_answer(20) == pytest.approx(2 * texts.findings_answer(10), rel=0.01)
