"""What the processes of SFT read and write. The training itself is tested with its stage."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.errors import SpecError
from fundus_r1.rows import Conversation, Split
from fundus_r1.spec.placement import StorePlace
from fundus_r1.spec.science import SftScience
from fundus_r1.training.sft_job import (
    SftJob,
    SftOutcome,
    accumulation,
    reading_order,
    unpack,
    unpacked,
    write_log,
)


@given(batch=st.integers(1, 300), processes=st.integers(1, 16), micro=st.integers(1, 16))
def test_a_batch_is_shared_evenly_or_not_at_all(batch: int, processes: int, micro: int) -> None:
    if batch % (processes * micro):
        with pytest.raises(SpecError, match=f"{batch} conversations"):
            accumulation(batch, processes, micro)
    else:
        assert accumulation(batch, processes, micro) * processes * micro == batch


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


def _row(number: int, split: Split) -> Conversation:
    return Conversation(
        triplet_id=f"t{number}", sample_id="s", prompt="p\nq", response=f"r {number}", split=split
    )


def test_conversations_travel_in_order_and_share_their_images(tmp_path: Path) -> None:
    splits = [Split.TRAIN, Split.VALIDATION, Split.TRAIN]
    rows = [(_row(number, split), b"image %d" % (number // 2)) for number, split in enumerate(splits)]
    unpack(rows, tmp_path)
    found = unpacked(tmp_path, Split.TRAIN)
    assert [(one.conversation, one.image.read_bytes()) for one in found] == [rows[0], rows[2]]
    assert [one.conversation for one in unpacked(tmp_path, Split.VALIDATION)] == [rows[1][0]]
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_the_log_counts_in_epochs_of_the_run(tmp_path: Path) -> None:
    job = SftJob(
        science=SftScience(epochs=2),
        micro_batch_size=1,
        save_steps=1,
        store=StorePlace(),
        prefix="sft/0",
        model="m",
        folder=str(tmp_path),
    )
    # As Trainer writes it, to which the whole run is one epoch.
    history = [
        {"loss": 3.0, "grad_norm": 1.0, "learning_rate": 0.1, "epoch": 0.25, "step": 1},
        {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.2, "epoch": 0.5, "step": 2},
        {"eval_loss": 2.5, "eval_runtime": 7.7, "epoch": 0.5, "step": 2},
        {"loss": 1.5, "learning_rate": 0.1, "epoch": 0.75, "step": 3},
        {"loss": 1.0, "learning_rate": 0.0, "epoch": 1.0, "step": 4},
        {"eval_loss": 1.25, "eval_runtime": 7.7, "epoch": 1.0, "step": 4},
        {"train_runtime": 99.0, "train_loss": 2.0, "epoch": 1.0, "step": 4},
    ]
    write_log(job, history, trained=8, validation=2)
    rows = [json.loads(line) for line in job.log.read_text().splitlines()]
    assert rows[0] == {"step": 1, "epoch": 0.5, "loss": 3.0, "learning_rate": 0.1}
    assert rows[2] == {"step": 2, "epoch": 1.0, "eval_loss": 2.5}
    assert len(rows) == 6
    assert SftOutcome.model_validate_json(job.outcome.read_bytes()) == SftOutcome(
        trained=8, validation=2, steps=4, epochs=2, first_loss=3.0, last_loss=1.0, eval_loss=1.25
    )
