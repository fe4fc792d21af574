from __future__ import annotations

import pytest

from fundus_r1.prompts.student import parse_student
from fundus_r1.rewards import format_reward


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("<think>a</think> <answer>B</answer>", 1.0),
        ("\n<think>a\nb</think>\n\n<answer>B</answer>\n", 1.0),
        ("<think>a</think><answer>B</answer>", 1.0),
        ("<answer>B</answer>", 0.0),
        ("<think>a</think> <answer>B</answer> I am sure.", 0.0),
        ("<think>a</think> <answer>B</answer> <answer>B</answer>", 0.0),
        ("<think> </think> <answer>B</answer>", 0.0),
        ("<think>a</think> <answer>...</answer>", 0.0),
        ("<think>\u200b</think> <answer>B</answer>", 0.0),
        ("<Think>a</Think> <answer>B</answer>", 0.0),
        ("<think>a <think>b</think></think> <answer>B</answer>", 0.0),
        ("<think>a</think> so <answer>B</answer>", 0.0),
        ("Hm. <think>a</think> <answer>B</answer>", 0.0),
        ("<answer>B</answer> <think>a</think>", 0.0),
        ("<think>a</think> <answer>B", 0.0),
        ("", 0.0),
    ],
)
def test_only_the_exact_form_is_rewarded(text: str, reward: float) -> None:
    assert format_reward(parse_student(text)) == reward
