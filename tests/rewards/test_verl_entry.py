"""The function that verl calls: its parts add up, its keys never change, its judge is asked in turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.errors import ModelError
from fundus_r1.prompts.verdicts import FindingsVerdict
from fundus_r1.rewards import verl_entry
from fundus_r1.rewards.process import ProcessValues
from fundus_r1.rewards.verl_entry import JudgeSettings, Rewarder, RewardSettings, compute_score
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.spec.setups import ProcessMode

VALUES = ProcessValues(plausible=16.0, tenuous=8.0, flawed=4.0, plausible_if_wrong=2.0, other_branch=32.0)
PROMPT = Prompt(
    triplet_id="idrid/1#grade",
    sample_id="idrid/1",
    prompt="Which grade?",
    answer="Moderate NPDR",
    options={"A": "Mild NPDR", "B": "Moderate NPDR"},
    option_labels={"A": "mild_npdr", "B": "moderate_npdr"},
    modality=Modality.CFP,
    findings=("microaneurysm", "retinal_hemorrhage"),
    split=Split.TRAIN,
)
RIGHT = "<think>why</think> <answer>Moderate NPDR</answer>"
WRONG = "<think>why</think> <answer>Mild NPDR</answer>"
KEYS = {
    "score", "answer", "format", "process", "findings_plausible", "findings_tenuous", "findings_flawed",
    "knowledge_plausible", "knowledge_implausible", "not_judged", "judge_calls", "judge_failed",
}  # fmt: skip


class Scripted:
    """A judge that says what it is told to and counts how many ask at once."""

    def __init__(self, findings: FindingsVerdict | None = "tenuous", knowledge: bool | None = True):
        self.findings, self.knowledge = findings, knowledge
        self.now = self.most = 0

    async def _turn(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> FindingsVerdict | None:
        await self._turn()
        return self.findings

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> bool | None:
        await self._turn()
        return self.knowledge


def settings(mode: ProcessMode = "selective", concurrency: int = 2) -> RewardSettings:
    judge = JudgeSettings(factory=f"{__name__}:unused", chat=Chat(), endpoint=None, concurrency=concurrency)
    texts = {"mild_npdr|CFP": "D of mild", "moderate_npdr|CFP": "D of moderate"}
    return RewardSettings(
        mode=mode, values=VALUES, knowledge_texts=texts, judge=None if mode == "none" else judge
    )


def rewarded(text: str, judge: Scripted, mode: ProcessMode = "selective") -> dict[str, float]:
    return asyncio.run(Rewarder(settings(mode), judge).parts(text, PROMPT))


@pytest.mark.parametrize(
    ("text", "judge", "parts", "branch"),
    [
        (RIGHT, Scripted("plausible"), (1, 1, 16), "findings_plausible"),
        (RIGHT, Scripted("tenuous"), (1, 1, 8), "findings_tenuous"),
        (RIGHT, Scripted("flawed"), (1, 1, 4), "findings_flawed"),
        (WRONG, Scripted(knowledge=True), (0, 1, 2), "knowledge_plausible"),
        (WRONG, Scripted(knowledge=False), (0, 1, 0), "knowledge_implausible"),
        ("<think>why</think> <answer>a cat</answer>", Scripted(), (0, 1, 0), "not_judged"),
        ("<answer>Moderate NPDR</answer>", Scripted(), (1, 0, 0), "not_judged"),
        ("no form at all", Scripted(), (0, 0, 0), "not_judged"),
        (RIGHT, Scripted(findings=None), (1, 1, 0), "not_judged"),
    ],
)
def test_each_branch_gives_its_value_and_is_counted(
    text: str, judge: Scripted, parts: tuple[float, float, float], branch: str
) -> None:
    found = rewarded(text, judge)
    assert (found["answer"], found["format"], found["process"]) == parts
    assert found["score"] == sum(parts)
    branches = {key for key in KEYS if key.startswith(("findings_", "knowledge_", "not_")) and found[key]}
    assert branches == {branch}


def test_a_verdict_that_cannot_be_read_is_counted_as_the_judges_failure() -> None:
    found = rewarded(RIGHT, Scripted(findings=None))
    assert (found["judge_calls"], found["judge_failed"]) == (1, 1)


@given(st.text(max_size=200), st.sampled_from(["none", "vf", "dk", "selective", "sum"]))
def test_any_text_gives_the_same_keys_and_a_score_that_is_the_sum(text: str, mode: ProcessMode) -> None:
    for rollout in (text, f"<think>{text}</think> <answer>{text}</answer>", RIGHT, WRONG):
        found = rewarded(rollout, Scripted(), mode)
        assert found.keys() == KEYS
        assert all(isinstance(value, float) for value in found.values())
        assert found["score"] == found["answer"] + found["format"] + found["process"]


@pytest.mark.parametrize(
    ("mode", "right", "wrong"),
    [("none", 0, 0), ("vf", 8, 32), ("dk", 32, 2), ("selective", 8, 2), ("sum", 10, 10)],
)
def test_the_setups_differ_in_the_process_reward_alone(mode: ProcessMode, right: float, wrong: float) -> None:
    assert rewarded(RIGHT, Scripted(), mode)["process"] == right
    assert rewarded(WRONG, Scripted(), mode)["process"] == wrong


def test_only_the_sum_has_both_verdicts() -> None:
    both = {"findings_tenuous", "knowledge_plausible"}
    for mode in ("vf", "dk", "selective"):
        assert sum(rewarded(RIGHT, Scripted(), mode)[key] for key in both) <= 1
    assert sum(rewarded(RIGHT, Scripted(), "sum")[key] for key in both) == 2


def test_no_more_rollouts_are_judged_at_once_than_allowed() -> None:
    judge = Scripted()

    async def many() -> None:
        rewarder = Rewarder(settings(concurrency=3), judge)
        await asyncio.gather(*(rewarder.parts(RIGHT, PROMPT) for _ in range(20)))

    asyncio.run(many())
    assert judge.most == 3


class Opened:
    """What the factory below was called with."""

    calls: ClassVar[list[tuple[Chat, Endpoint | None, int]]] = []


def factory(chat: Chat, endpoint: Endpoint | None, concurrency: int) -> Scripted:
    Opened.calls.append((chat, endpoint, concurrency))
    return Scripted("plausible")


def test_verl_calls_it_by_its_own_signature_and_the_judge_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(url="http://judge/v1", api_key_env="JUDGE_KEY")
    judge = JudgeSettings(factory="somewhere:open", chat=Chat(), endpoint=endpoint, concurrency=5)
    path = tmp_path / "rewards.json"
    path.write_text(settings().model_copy(update={"judge": judge}).model_dump_json())
    monkeypatch.setattr(verl_entry.pkgutil, "resolve_name", {"somewhere:open": factory}.__getitem__)

    async def twice() -> list[dict[str, float]]:
        return [
            await compute_score(
                data_source="fundus-r1",
                solution_str=RIGHT,
                ground_truth="Moderate NPDR",
                extra_info={"index": 0, "prompt": PROMPT.model_dump_json(), "num_turns": 2},
                settings=str(path),
            )
            for _ in range(2)
        ]

    first, second = asyncio.run(twice())
    assert first == second and first["score"] == 18.0
    assert Opened.calls == [(Chat(), endpoint, 5)]
    assert "JUDGE_KEY" in path.read_text()


def test_without_a_process_reward_there_is_no_judge(tmp_path: Path) -> None:
    path = tmp_path / "rewards.json"
    path.write_text(settings("none").model_dump_json())
    assert json.loads(path.read_text())["judge"] is None
    extra = {"prompt": PROMPT.model_dump_json()}
    found = asyncio.run(compute_score("fundus-r1", RIGHT, "", extra, settings=str(path)))
    assert (found["score"], found["judge_calls"]) == (2.0, 0.0)


def test_a_judge_that_does_not_answer_is_no_reward_of_zero() -> None:
    class Silent(Scripted):
        async def grade_findings(self, trace: str, findings: Sequence[str]) -> FindingsVerdict | None:
            raise ModelError("The judge does not answer", transient=True)

    with pytest.raises(ModelError, match="does not answer"):
        rewarded(RIGHT, Silent())
