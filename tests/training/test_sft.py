"""What the processes of SFT read and write. The training itself is tested with its stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.errors import SpecError
from fundus_r1.spec.placement import SftPlace, StorePlace
from fundus_r1.spec.training import SftScience
from fundus_r1.training.sft_job import SftJob, SftOutcome, accumulation, write_log


@given(batch=st.integers(1, 300), processes=st.integers(1, 16), micro=st.integers(1, 16))
def test_a_batch_is_shared_evenly_or_not_at_all(batch: int, processes: int, micro: int) -> None:
    if batch % (processes * micro):
        with pytest.raises(SpecError, match=f"{batch} conversations"):
            accumulation(batch, processes, micro)
    else:
        assert accumulation(batch, processes, micro) * processes * micro == batch


def test_the_log_counts_in_epochs_of_the_run(tmp_path: Path) -> None:
    job = SftJob(
        science=SftScience(epochs=2),
        place=SftPlace(),
        store=StorePlace(),
        prefix="sft/0",
        model="m",
        folder=str(tmp_path),
    )
    # As Trainer writes it, to which the whole run is one epoch.
    took = {"tokens": 90.0, "learnt_tokens": 20.0, "tokens_per_s": 45.0, "memory": 1024}
    history = [
        {"loss": 3.0, "grad_norm": 1.0, "learning_rate": 0.1, "epoch": 0.25, "step": 1, **took},
        {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.2, "epoch": 0.5, "step": 2, "mfu": 0.4, **took},
        {"eval_loss": 2.5, "eval_runtime": 7.7, "epoch": 0.5, "step": 2},
        {"loss": 1.5, "learning_rate": 0.1, "epoch": 0.75, "step": 3},
        {"loss": 1.0, "learning_rate": 0.0, "epoch": 1.0, "step": 4},
        {"eval_loss": 1.25, "eval_runtime": 7.7, "epoch": 1.0, "step": 4},
        {"train_runtime": 99.0, "train_loss": 2.0, "epoch": 1.0, "step": 4},
    ]
    write_log(job, history, trained=8, validation=2)
    rows = [json.loads(line) for line in job.log.read_text().splitlines()]
    step = {"step": 1, "epoch": 0.5, "loss": 3.0, "learning_rate": 0.1, "grad_norm": 1.0, "mfu": None}
    assert rows[0] == {**step, **took}
    assert rows[1]["mfu"] == 0.4
    assert rows[2] == {"step": 2, "epoch": 1.0, "eval_loss": 2.5}
    assert len(rows) == 6
    assert SftOutcome.model_validate_json(job.outcome.read_bytes()) == SftOutcome(
        trained=8, validation=2, steps=4, epochs=2, first_loss=3.0, last_loss=1.0, eval_loss=1.25
    )
