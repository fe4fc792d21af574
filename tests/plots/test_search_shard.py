from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.plots.search_shard import DIGITS, SHARD, Shard, two_digits, words


def number_of(digits: str) -> int:
    return DIGITS.index(digits[0]) * len(DIGITS) + DIGITS.index(digits[1])


def add(shard: Shard, *texts: str) -> None:
    shard.add("a/1.png", label=0, dataset=0, modality=0, verdict=1, reasons=0, texts=texts)


@given(st.integers(0, SHARD - 1))
def test_two_digits_can_be_read_back(number: int) -> None:
    assert number_of(two_digits(number)) == number


@given(st.lists(st.text(max_size=40), max_size=20))
def test_each_word_has_exactly_the_traces_that_hold_it(texts: list[str]) -> None:
    shard = Shard()
    for text in texts:
        add(shard, text)
    for word, digits in shard.as_json()["words"].items():
        found = [number_of(digits[at : at + 2]) for at in range(0, len(digits), 2)]
        assert found == [number for number, text in enumerate(texts) if word in words(text)]


def test_words_are_lower_case_and_of_two_characters_at_least() -> None:
    assert words("Cotton-wool SPOTS, 12 µm; Ödem (x)") == {"cotton", "wool", "spots", "12", "µm", "ödem"}


def test_a_full_shard_takes_no_more() -> None:
    shard = Shard()
    for _ in range(SHARD):
        add(shard)
    with pytest.raises(ValueError, match="two digits"):
        add(shard)


def test_the_same_traces_give_the_same_bytes() -> None:
    one, two = Shard(), Shard()
    add(one, "beta alpha")
    add(two, "alpha beta")
    assert json.dumps(one.as_json()) == json.dumps(two.as_json())
