"""The reward manager in verl's reward worker: a line for each rollout, and word of a failure."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.models.tiny import build_tiny
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec.models import TinyModel
from fundus_r1.training.grpo_history import Journal

pytestmark = pytest.mark.engines

TEXT = "<think>why</think> <answer>No DR</answer>"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    transformers = pytest.importorskip("transformers")
    folder = build_tiny(tmp_path_factory.mktemp("tiny"), TinyModel(hidden=32, layers=1))
    return transformers.AutoTokenizer.from_pretrained(folder)


def rollout(tokenizer: Any) -> Any:
    """One rollout as verl's agent loop hands it to the reward worker."""
    import numpy as np
    import torch
    from tensordict import TensorDict
    from verl import DataProto

    row = Prompt(
        triplet_id="t7", sample_id="s", prompt="Which?", answer="No DR", options={}, option_labels={},
        modality=Modality.CFP, findings=(), split=Split.TRAIN,
    )  # fmt: skip
    asked = torch.tensor([tokenizer("Which?").input_ids])
    said = torch.tensor([tokenizer(TEXT + "<|im_end|>").input_ids])
    both = torch.cat([asked, said], dim=1)
    tensors = {
        "prompts": asked,
        "responses": said,
        "input_ids": both,
        "attention_mask": torch.ones_like(both),
    }
    fields = {
        "uid": "u", "session_id": 3, "global_steps": 5, "response_len": said.shape[1],
        "data_source": "fundus-r1", "reward_model": {"ground_truth": "No DR"},
        "extra_info": {"index": 0, "prompt": row.model_dump_json()}, "__num_turns__": 2,
    }  # fmt: skip
    arrays = {name: np.array([value], dtype=object) for name, value in fields.items()}
    return DataProto(batch=TensorDict(tensors, batch_size=1), non_tensor_batch=arrays)


def rewarded(work: Path, tokenizer: Any, reward: Any) -> dict[str, Any]:
    from fundus_r1.training.verl_rewards import RecordingRewardManager

    config = SimpleNamespace(trainer=SimpleNamespace(default_local_dir=str(work / "checkpoints")))

    async def in_the_workers_loop() -> dict[str, Any]:
        found: dict[str, Any] = await RecordingRewardManager(config, tokenizer, reward).run_single(
            rollout(tokenizer)
        )
        return found

    return asyncio.run(in_the_workers_loop())


def test_a_rewarded_rollout_is_a_line_in_its_steps_journal(tmp_path: Path, tokenizer: Any) -> None:
    async def reward(solution_str: str, **_: object) -> dict[str, float]:
        assert solution_str == TEXT
        return {"score": 1.5, "answer": 1.0, "process": 0.5}

    found = rewarded(tmp_path, tokenizer, reward)
    assert found["reward_score"] == 1.5
    [line] = Journal(tmp_path / "journal").step(5)
    assert line == {
        "step": 5, "uid": "u_3_0", "triplet_id": "t7", "text": TEXT, "score": 1.5, "answer": 1.0,
        "process": 0.5, "response_length": len(tokenizer(TEXT + "<|im_end|>").input_ids),
    }  # fmt: skip
    assert json.loads((tmp_path / "journal" / "5.jsonl").read_text()) == line


def test_a_reward_that_cannot_be_computed_leaves_word_and_no_line(tmp_path: Path, tokenizer: Any) -> None:
    async def reward(**_: object) -> dict[str, float]:
        raise ModelError("The judge does not answer", where="http://judge/v1", hint="start it")

    with pytest.raises(ModelError):
        rewarded(tmp_path, tokenizer, reward)
    told = (tmp_path / "failure.txt").read_text()
    assert "does not answer" in told and "http://judge/v1" in told and "start it" in told
    assert not (tmp_path / "journal").exists()
