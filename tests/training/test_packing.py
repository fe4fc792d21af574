"""Every conversation is in one sequence, none overfull, and no process waits long."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fundus_r1.errors import SpecError
from fundus_r1.training.packing import bins_needed, pack

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=40)


@given(lengths=LENGTHS, bins=st.integers(1, 12))
def test_with_room_enough_sequences_are_about_equally_full(lengths: list[int], bins: int) -> None:
    dealt = pack(lengths, bins, limit=sum(lengths))
    loads = [sum(lengths[number] for number in one) for one in dealt]
    assert sorted(number for one in dealt for number in one) == list(range(len(lengths)))
    assert len(dealt) == bins and sum(map(bool, dealt)) == min(bins, len(lengths))
    # Graham's bound, by the least that the fullest can hold in any case.
    in_pairs = sorted(lengths, reverse=True)[bins - 1 : bins + 1]
    least = max(max(lengths), sum(lengths) / bins, sum(in_pairs) if len(in_pairs) == 2 else 0)
    assert max(loads) <= (4 / 3 - 1 / (3 * bins)) * least + max(lengths) / 3


@given(lengths=LENGTHS, bins=st.integers(1, 12), limit=st.integers(1, 2000))
def test_the_limit_is_kept_or_the_step_refused(lengths: list[int], bins: int, limit: int) -> None:
    try:
        dealt = pack(lengths, bins, limit)
    except SpecError as error:
        assert error.where == "placement.sft.pack_tokens"
        # What has so much room that any order fits is never refused.
        assert sum(lengths) + (bins - 1) * max(lengths) > bins * limit
    else:
        assert sorted(number for one in dealt for number in one) == list(range(len(lengths)))
        assert max(sum(lengths[number] for number in one) for one in dealt) <= limit
        assert sum(map(bool, dealt)) == min(bins, len(lengths))


def test_a_tight_limit_is_kept_where_dealing_alone_would_break_it() -> None:
    # The emptiest in turn gives 6+3+2 and 4+4+3: one too many for 10.
    lengths = [6, 4, 4, 3, 3]
    assert sorted(sum(lengths[n] for n in one) for one in pack(lengths, 2, 11)) == [9, 11]
    assert sorted(sum(lengths[n] for n in one) for one in pack(lengths, 2, 10)) == [10, 10]


@given(
    steps=st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=12), min_size=1, max_size=5),
    limit=st.integers(100, 400),
    processes=st.integers(1, 5),
)
def test_one_number_of_sequences_suffices_for_every_step(
    steps: list[list[int]], limit: int, processes: int
) -> None:
    bins = bins_needed(steps, limit, processes)
    assert bins % processes == 0
    for lengths in steps:
        pack(lengths, bins, limit)
    assume(bins > processes)
    with pytest.raises(SpecError):
        for lengths in steps:
            pack(lengths, bins - processes, limit)


def test_a_conversation_longer_than_a_sequence_is_refused() -> None:
    with pytest.raises(SpecError, match="A conversation of 101 tokens does not fit into a sequence of 100"):
        bins_needed([[100], [7, 101]], limit=100, processes=2)
