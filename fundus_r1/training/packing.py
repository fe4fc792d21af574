"""Conversations of one optimiser step -> micro batches of at most so many tokens, about equally full.

A micro batch is one sequence, in which conversations stand one after the other (`Collator.packed`). All
processes wait for the slowest, so what counts is the fullest: the longest conversation is dealt first,
each to the emptiest sequence (Graham 1969: at most 4/3 of the best possible). Where that overfills one,
each goes to the fullest sequence that has room for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from fundus_r1.errors import SpecError


def pack(lengths: Sequence[int], bins: int, limit: int) -> list[list[int]]:
    """Deals conversations out to exactly `bins` sequences; none is empty if there are enough.

    Args:
        lengths: tokens of each conversation.
        bins: number of sequences.
        limit: tokens in a sequence at most.

    Returns:
        For each sequence its conversations by number, ascending.

    Raises:
        SpecError: no way was found that keeps the limit.
    """
    longest_first = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    dealt = _dealt(lengths, longest_first, bins)
    if any(_load(lengths, one) > limit for one in dealt):
        dealt = _fitted(lengths, longest_first, bins, limit)
    return [sorted(one) for one in dealt]


def bins_needed(steps: Sequence[Sequence[int]], limit: int, processes: int) -> int:
    """The least number of sequences, the same for each process, that suffices for every step.

    It is one number for the whole run, because a process accumulates as many micro batches in each step.

    Args:
        steps: of each optimiser step, the tokens of its conversations.
        limit: tokens in a sequence at most.
        processes: that share them.

    Raises:
        SpecError: a conversation is longer than a sequence.
    """
    longest = max((length for lengths in steps for length in lengths), default=0)
    if longest > limit:
        raise SpecError(
            f"A conversation of {longest} tokens does not fit into a sequence of {limit}",
            where="placement.sft.pack_tokens",
            hint="set it to science.sft.max_length or more",
        )
    bins = processes
    while not all(_fits(lengths, bins, limit) for lengths in steps):
        bins += processes
    return bins


def _fits(lengths: Sequence[int], bins: int, limit: int) -> bool:
    if sum(lengths) > bins * limit:
        return False
    try:
        pack(lengths, bins, limit)
    except SpecError:
        return False
    return True


def _load(lengths: Sequence[int], numbers: Iterable[int]) -> int:
    return sum(lengths[number] for number in numbers)


def _dealt(lengths: Sequence[int], longest_first: Sequence[int], bins: int) -> list[list[int]]:
    """Each to the emptiest."""
    dealt: list[list[int]] = [[] for _ in range(bins)]
    emptiest = [(0, at) for at in range(bins)]
    for number in longest_first:
        load, at = emptiest[0]
        dealt[at].append(number)
        heapq.heapreplace(emptiest, (load + lengths[number], at))
    return dealt


def _fitted(lengths: Sequence[int], longest_first: Sequence[int], bins: int, limit: int) -> list[list[int]]:
    """Each to the fullest that has room."""
    fitted: list[list[int]] = [[] for _ in range(bins)]
    room = [limit] * bins
    for number in longest_first:
        fits = [at for at in range(bins) if room[at] >= lengths[number]]
        if not fits:
            raise SpecError(
                f"{len(lengths)} conversations of {sum(lengths)} tokens do not fit into {bins} sequences of "
                f"{limit}",
                where="placement.sft.pack_tokens",
                hint="raise it",
            )
        at = min(fits, key=lambda at: (room[at], at))
        fitted[at].append(number)
        room[at] -= lengths[number]
    for empty in (one for one in fitted if not one):
        divisible = [one for one in fitted if len(one) > 1]
        if divisible:
            empty.append(max(divisible, key=lambda one: _load(lengths, one)).pop())
    return fitted
