"""Stage 8 learns: a student that gives four answers to one question, each as often, comes within ten steps to
give the one that is rewarded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_heart import learn_by_heart, probability
from grpo_case import (
    IMAGES,
    OPTIONS,
    PIXELS,
    ROWS,
    SCIENCE,
    STUDENT,
    a_slice,
    context,
    given,
)

from fundus_r1.prompts.student import student_response
from fundus_r1.spec.placement import Trackers
from fundus_r1.stages.execute import run_job
from fundus_r1.stages.job import StageJob
from fundus_r1.storage.output import StageOutput

ARMS = list(OPTIONS.values())
REWARDED = "No DR"
QUESTIONS = [
    ROWS[2].model_copy(
        update={"triplet_id": f"bandit-{number}", "prompt": "Which grade?", "answer": REWARDED}
    )
    for number in range(4)
]


@dataclass
class Bandit:
    """A finished run on one question."""

    output: StageOutput
    start: Path
    model: Path
    events: Path

    @property
    def rewards(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_bytes("rewards.jsonl").splitlines()]


@pytest.fixture(scope="module")
def bandit(tmp_path_factory: pytest.TempPathFactory) -> Bandit:
    """Ten steps; the vision tower stays as it is, and images have a quarter of their pixels."""
    folder = tmp_path_factory.mktemp("bandit")
    said = [(QUESTIONS[0], IMAGES[0], student_response("a look", arm)) for arm in ARMS]
    start = learn_by_heart(folder / "start", STUDENT, said, enough=0.1, pixels=PIXELS)
    science = SCIENCE.model_copy(
        update={"epochs": 10, "learning_rate": 1e-3, "max_response_length": 32, "train_vision": False}
    )
    ctx = context(folder, a_slice(grpo=science, process="none", judge=None, pixels=PIXELS), QUESTIONS)
    given(ctx.store, "sft", {}, start)
    place = ctx.placement.model_copy(
        update={
            "grpo": ctx.placement.grpo.model_copy(update={"save_steps": 10}),
            "trackers": Trackers(tensorboard=str(folder / "events")),
        }
    )
    job = StageJob(
        stage="grpo",
        science=ctx.science.model_dump(mode="json"),
        placement=place,
        inputs={"trainset": "trainset" * 8, "sft": "sft" * 8},
    )
    output = run_job(job)
    return Bandit(output, start, output.download_folder("model", folder / "trained"), folder / "events")


@pytest.mark.engines
def test_ten_steps_on_a_bandit_raise_its_reward(bandit: Bandit) -> None:
    """Runs gave 0.48 and 0.58 more; with a reward of the other sign the share would fall."""
    answers = [row["answer"] for row in bandit.rewards]
    assert len(answers) == 10
    assert np.mean(answers[-3:]) > np.mean(answers[:3]) + 0.2, answers


@pytest.mark.engines
def test_the_rewarded_answer_becomes_likelier_and_the_others_do_not(bandit: Bandit) -> None:
    def asked(folder: Path) -> dict[str, float]:
        return {
            arm: probability(folder, QUESTIONS[0], IMAGES[0], student_response("a look", arm)) for arm in ARMS
        }

    before, after = asked(bandit.start), asked(bandit.model)
    assert after[REWARDED] > before[REWARDED] + 0.2, (before, after)
    assert all(after[arm] < before[arm] for arm in ARMS if arm != REWARDED), (before, after)


@pytest.mark.engines
def test_a_vision_tower_that_must_not_learn_stays_as_it_was(bandit: Bandit) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    before, after = (
        AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
        for folder in (bandit.start, bandit.model)
    )
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(same[name] for name in same if ".visual." in name)
    assert not all(same[name] for name in same if ".visual." not in name)


@pytest.mark.engines
def test_the_trained_model_carries_the_limits_of_pixels_on(bandit: Bandit) -> None:
    from transformers import AutoProcessor

    size = AutoProcessor.from_pretrained(bandit.model).image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (PIXELS.min_pixels, PIXELS.max_pixels)
    assert float(bandit.output.record.counts["rollout_agreement"] or 0) > 0.99, "vLLM sees the same images"


@pytest.mark.engines
def test_tensorboard_is_told_each_step(bandit: Bandit) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(bandit.events))
    events.Reload()
    told = [event.value for event in events.Scalars("fundus_r1/answer")]
    assert told == pytest.approx([row["answer"] for row in bandit.rewards])
    assert len(events.Scalars("actor/kl_loss")) == 10
