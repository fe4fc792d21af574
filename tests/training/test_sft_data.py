"""What a step sees depends on seed and epoch alone; how it is shared out, on the placement."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fundus_r1.errors import SpecError
from fundus_r1.spec.training import SftScience
from fundus_r1.training.encoder import Example
from fundus_r1.training.packing import pack
from fundus_r1.training.sft_data import MicroBatchData, MicroBatches, micro_batches, reading_order
from fundus_r1.training.sft_files import Stored
from tests.training.taught import conversation

SCIENCE = SftScience(batch_size=12, epochs=2, seed=3)
LENGTHS = np.random.default_rng(0).integers(100, 900, size=50).tolist()


def _laid_out(
    processes: int = 2,
    micro_batch_size: int = 2,
    pack_tokens: int | None = None,
    science: SftScience = SCIENCE,
) -> MicroBatches:
    return micro_batches(
        LENGTHS, science, processes=processes, micro_batch_size=micro_batch_size, pack_tokens=pack_tokens
    )


def _steps(found: MicroBatches, processes: int) -> list[list[list[int]]]:
    """The micro batches of each step, as Trainer and accelerate deal them out."""
    per_step = found.accumulation * processes
    assert len(found.batches) % per_step == 0
    return [found.batches[at : at + per_step] for at in range(0, len(found.batches), per_step)]


@given(count=st.integers(1, 100), batch=st.integers(1, 40), epochs=st.integers(1, 4), seed=st.integers(0, 9))
def test_each_epoch_reads_every_conversation_and_fills_its_last_batch(
    count: int, batch: int, epochs: int, seed: int
) -> None:
    science = SftScience(batch_size=batch, epochs=epochs, seed=seed)
    order = reading_order(count, science)
    length, rest = divmod(len(order), epochs)
    assert rest == 0 and length % batch == 0 and 0 <= length - count < batch
    for epoch in range(epochs):
        read = order[epoch * length : (epoch + 1) * length]
        assert sorted(read[:count]) == list(range(count))
        times = Counter(read).values()
        assert max(times) - min(times) <= 1, "the batch is filled up evenly"
    assert order == reading_order(count, science)


def test_the_order_differs_between_epochs_and_seeds() -> None:
    orders = [reading_order(50, SftScience(batch_size=50, epochs=2, seed=seed)) for seed in (0, 1)]
    assert len({tuple(order[start : start + 50]) for order in orders for start in (0, 50)}) == 4


@pytest.mark.parametrize(
    ("processes", "micro_batch_size", "pack_tokens"),
    [(1, 1, None), (2, 2, None), (3, 4, None), (12, 1, None), (1, 1, 2000), (2, 5, 1500), (5, 1, 4000)],
)
def test_each_step_sees_the_same_conversations_under_every_placement(
    processes: int, micro_batch_size: int, pack_tokens: int | None
) -> None:
    found = _laid_out(processes, micro_batch_size, pack_tokens)
    order = reading_order(len(LENGTHS), SCIENCE)
    expected = [sorted(order[at : at + 12]) for at in range(0, len(order), 12)]
    steps = _steps(found, processes)
    assert [sorted(number for batch in step for number in batch) for step in steps] == expected


def test_a_padded_micro_batch_holds_conversations_of_like_length() -> None:
    def padding(batches: list[list[int]]) -> int:
        return sum(
            max(LENGTHS[n] for n in batch) * len(batch) - sum(LENGTHS[n] for n in batch) for batch in batches
        )

    order = reading_order(len(LENGTHS), SCIENCE)
    as_read = [order[at : at + 2] for at in range(0, len(order), 2)]
    assert padding(_laid_out().batches) < 0.4 * padding(as_read)
    for step in _steps(_laid_out(), 2):
        read = [LENGTHS[number] for batch in step for number in batch]
        assert read == sorted(read), "and so do those that the processes compute at the same time"


def test_packed_micro_batches_keep_the_limit_and_have_no_more_of_them_than_needed() -> None:
    found = _laid_out(processes=2, pack_tokens=1800)
    loads = [sum(LENGTHS[number] for number in batch) for batch in found.batches]
    assert min(loads) > 0 and max(loads) <= 1800
    for step in _steps(found, 2):
        read = [sum(LENGTHS[number] for number in batch) for batch in step]
        assert read == sorted(read), "those that the processes compute at the same time are alike"
    with pytest.raises(SpecError):
        for step in _steps(found, 2):
            pack([LENGTHS[n] for batch in step for n in batch], 2 * (found.accumulation - 1), 1800)


def test_a_micro_batch_is_collated_from_the_files_of_its_conversations(tmp_path: Path) -> None:
    images = [np.full((28, 28, 3), number, np.uint8) for number in range(4)]
    stored = []
    for number, image in enumerate(images):
        np.save(tmp_path / f"{number}.npy", image)
        ids = np.array([number], np.int32)
        stored.append(Stored(conversation(name=f"t{number}"), ids, ids, 2, tmp_path / f"{number}.npy"))

    def collate(examples: list[Example]) -> dict[str, Tensor]:
        return {one.conversation.triplet_id: torch.from_numpy(one.image) for one in examples}

    data = MicroBatchData(stored, [[2, 0], [3], [1, 1]], collate)
    assert [list(data[at]) for at in range(len(data))] == [["t2", "t0"], ["t3"], ["t1"]]
    assert all((tensor == int(name[1:])).all() for at in range(3) for name, tensor in data[at].items())


def test_more_processes_than_conversations_in_a_step_are_refused() -> None:
    with pytest.raises(SpecError, match="batch of 12 conversations cannot be packed into 13 sequences"):
        _laid_out(processes=13, pack_tokens=2000)
    with pytest.raises(SpecError, match="cannot be shared by 13 processes"):
        _laid_out(processes=13, micro_batch_size=1)
