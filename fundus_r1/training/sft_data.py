"""What each optimiser step of SFT sees, and how its processes share that out (paper, Sec. 3.4).

Which conversations a step sees depends on the seed and the epoch alone: not on the number of processes,
the size of a micro batch, packing or the launcher. So these may change, even in the middle of a run,
and the loss curve stays what it was, but for rounding.

Conversations of like length are grouped, so that little is padded and no process waits long for
another, but within a step only. To draw whole steps of like length, as is often done, would give steps
that favour short answers at one time and long ones at another, and an order that hangs on the placement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from fundus_r1.errors import SpecError
from fundus_r1.spec.training import SftScience
from fundus_r1.training.encoder import Example
from fundus_r1.training.packing import bins_needed, pack
from fundus_r1.training.sft_files import Stored
from fundus_r1.training.sft_job import accumulation


@dataclass(frozen=True)
class MicroBatches:
    """A whole run, laid out."""

    batches: list[list[int]]
    """Conversations by number. Step follows step; within a step batch k is for process k % processes,
    as accelerate deals them out."""
    accumulation: int
    """Batches of a process in each step."""


class MicroBatchData(Dataset[dict[str, Tensor]]):
    """Micro batches, ready for the model: Trainer takes them one by one and collates nothing.

    Args:
        stored: the conversations.
        batches: of each micro batch its conversations, by number.
        collate: `Collator`, or its `packed`.
    """

    def __init__(
        self,
        stored: Sequence[Stored],
        batches: Sequence[Sequence[int]],
        collate: Callable[[list[Example]], dict[str, Tensor]],
    ):
        self._stored = stored
        self._batches = batches
        self._collate = collate

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._collate([self._stored[number].example() for number in self._batches[index]])


def reading_order(conversations: int, science: SftScience) -> list[int]:
    """The conversations of the whole run, by number, one epoch after the other.

    Each epoch is shuffled by the seed and its own number, and filled up to whole steps with those that
    it began with.
    """
    filled = -(-conversations // science.batch_size) * science.batch_size
    order: list[int] = []
    for epoch in range(science.epochs):
        shuffled = np.random.default_rng([science.seed, epoch]).permutation(conversations)
        order += np.resize(shuffled, filled).tolist()
    return order


def micro_batches(
    lengths: Sequence[int],
    science: SftScience,
    *,
    processes: int,
    micro_batch_size: int,
    pack_tokens: int | None,
) -> MicroBatches:
    """Lays out a whole run.

    Args:
        lengths: tokens of each conversation.
        science: batch size, epochs and seed.
        processes: that share each step.
        micro_batch_size: conversations in a micro batch; with `pack_tokens` it counts for nothing.
        pack_tokens: tokens in a micro batch at most; None does not pack.

    Raises:
        SpecError: a step cannot be shared out so.
    """
    order = reading_order(len(lengths), science)
    size = science.batch_size
    steps = [order[begin : begin + size] for begin in range(0, len(order), size)]
    if pack_tokens is None:
        accumulated = accumulation(size, processes, micro_batch_size)
        batches = [batch for step in steps for batch in _alike(step, lengths, micro_batch_size)]
        return MicroBatches(batches, accumulated)
    bins = bins_needed([[lengths[number] for number in step] for step in steps], pack_tokens, processes)
    if bins > size:
        raise SpecError(
            f"A batch of {size} conversations cannot be packed into {bins} sequences of {pack_tokens} "
            f"tokens, as many for each of {processes} processes",
            where="science.sft.batch_size, placement.sft.processes, placement.sft.pack_tokens",
            hint="use fewer processes, or raise pack_tokens",
        )
    packed = []
    for step in steps:
        full = pack([lengths[number] for number in step], bins, pack_tokens)
        sequences = [[step[at] for at in one] for one in full]
        packed += sorted(sequences, key=lambda one: sum(lengths[number] for number in one))
    return MicroBatches(packed, bins // processes)


def _alike(step: Sequence[int], lengths: Sequence[int], size: int) -> list[list[int]]:
    """Micro batches of like length; what the processes compute at the same time is alike too."""
    by_length = sorted(step, key=lambda number: lengths[number])
    return [by_length[begin : begin + size] for begin in range(0, len(step), size)]
