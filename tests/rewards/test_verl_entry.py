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
from fundus_r1.prompts.verdicts import FindingsVerdict, Graded, KnowledgeVerdict
from fundus_r1.rewards import verl_entry
from fundus_r1.rewards.process import ProcessValues
from fundus_r1.rewards.verl_entry import JudgeSettings, Rewarder, RewardSettings, compute_score
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.spec.setups import ProcessMode

VALUES = ProcessValues(
    plausible=16.0, tenuous=8.0, flawed=4.0, plausible_if_wrong=2.0, other_branch=32.0, unjudged=0.5
)
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
    "knowledge_plausible", "knowledge_implausible", "not_judged", "no_trace", "no_answer", "outside_options",
    "no_knowledge", "no_findings", "judge_calls", "judge_failed", "judge_cached", "judge_s", "judge_agrees",
    "judge_addressed", "repeated", "findings_stated", "off_vocabulary",
}  # fmt: skip


class Scripted:
    """A judge that says what it is told to."""

    def __init__(
        self, findings: FindingsVerdict | None = "tenuous", knowledge: KnowledgeVerdict | None = "plausible"
    ):
        self.findings, self.knowledge = findings, knowledge

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> Graded[FindingsVerdict]:
        return Graded(
            self.findings, "tenuous", seconds=0.25, shared=True, addressed=True, problem="it is away"
        )

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> Graded[KnowledgeVerdict]:
        return Graded(self.knowledge, "plausible", seconds=0.5)


def settings(mode: ProcessMode = "selective", bad_share: float = 1.0) -> RewardSettings:
    judge = JudgeSettings(factory=f"{__name__}:unused", chat=Chat(), endpoint=None)
    texts = {
        "mild_npdr|CFP": "On CFP, mild NPDR shows microaneurysms.",
        "moderate_npdr|CFP": "Retinal hemorrhages are decisive. There should be no neovascularization.",
    }
    return RewardSettings(
        mode=mode,
        values=VALUES,
        knowledge_texts=texts,
        judge=None if mode == "none" else judge,
        bad_share=bad_share,
    )


def rewarded(text: str, judge: Scripted, mode: ProcessMode = "selective") -> dict[str, float]:
    return asyncio.run(Rewarder(settings(mode), judge).parts(text, PROMPT))


@pytest.mark.parametrize(
    ("text", "judge", "parts", "branch"),
    [
        (RIGHT, Scripted("plausible"), (1, 1, 16), "findings_plausible"),
        (RIGHT, Scripted("tenuous"), (1, 1, 8), "findings_tenuous"),
        (RIGHT, Scripted("flawed"), (1, 1, 4), "findings_flawed"),
        (WRONG, Scripted(knowledge="plausible"), (0, 1, 2), "knowledge_plausible"),
        (WRONG, Scripted(knowledge="implausible"), (0, 1, 0), "knowledge_implausible"),
        ("<think>why</think> <answer>a cat</answer>", Scripted(), (0, 1, 0), "not_judged"),
        ("<answer>Moderate NPDR</answer>", Scripted(), (1, 0, 0), "not_judged"),
        ("no form at all", Scripted(), (0, 0, 0), "not_judged"),
        (RIGHT, Scripted(findings=None), (1, 1, 10), "not_judged"),
        (WRONG, Scripted(knowledge=None), (0, 1, 1), "not_judged"),
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


def test_what_the_judge_did_is_counted() -> None:
    keys = ("judge_calls", "judge_failed", "judge_cached", "judge_s", "judge_agrees", "judge_addressed")

    def counted(text: str, judge: Scripted, mode: ProcessMode = "selective") -> list[float]:
        parts = rewarded(text, judge, mode)
        return [parts[key] for key in keys]

    assert counted(RIGHT, Scripted()) == [1, 0, 1, 0.25, 1, 1]
    assert counted(RIGHT, Scripted(findings=None)) == [1, 1, 1, 0.25, 0, 1]
    assert counted(WRONG, Scripted(knowledge="implausible")) == [1, 0, 0, 0.5, 0, 0]
    assert counted(RIGHT, Scripted(), "sum") == [2, 0, 1, 0.75, 2, 1]
    assert counted(RIGHT, Scripted(), "none") == [0, 0, 0, 0, 0, 0]


def test_findings_that_no_option_and_no_image_knows_are_counted() -> None:
    trace = "Microaneurysms, retinal hemorrhages, drusen and neovascularization are seen; no macular hole."
    found = rewarded(f"<think>{trace}</think> <answer>A</answer>", Scripted())
    assert (found["findings_stated"], found["off_vocabulary"]) == (4, 2)
    unknown = PROMPT.model_copy(update={"option_labels": {}})
    parts = asyncio.run(Rewarder(settings(), Scripted()).parts(f"<think>{trace}</think>", unknown))
    assert (parts["findings_stated"], parts["off_vocabulary"]) == (0, 0)


def test_repeated_text_is_told_of_the_whole_rollout() -> None:
    assert rewarded(RIGHT, Scripted())["repeated"] == 0
    assert rewarded("so it is " * 50, Scripted())["repeated"] > 0.9


@given(st.text(max_size=200), st.sampled_from(["none", "vf", "dk", "selective", "sum"]))
def test_any_text_gives_the_same_keys_and_a_score_that_is_the_sum(text: str, mode: ProcessMode) -> None:
    for rollout in (text, f"<think>{text}</think> <answer>{text}</answer>", RIGHT, WRONG):
        found = rewarded(rollout, Scripted(), mode)
        assert found.keys() == KEYS
        assert all(isinstance(value, float) for value in found.values())
        assert found["score"] == found["answer"] + found["format"] + found["process"]


def test_a_better_rollout_has_the_better_score() -> None:
    right, wrong = rewarded(RIGHT, Scripted("flawed")), rewarded(WRONG, Scripted())
    plain = rewarded("<answer>Mild NPDR</answer>", Scripted())
    assert right["score"] > wrong["score"] > plain["score"]


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


class Opened:
    """What the factory below was called with."""

    calls: ClassVar[list[tuple[Chat, Endpoint | None]]] = []


def factory(chat: Chat, endpoint: Endpoint | None) -> Scripted:
    Opened.calls.append((chat, endpoint))
    return Scripted("plausible")


def test_verl_calls_it_by_its_own_signature_and_the_judge_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(url="http://judge/v1", api_key_env="JUDGE_KEY")
    judge = JudgeSettings(factory="somewhere:open", chat=Chat(), endpoint=endpoint)
    path = tmp_path / "rewards.json"
    path.write_text(settings().model_copy(update={"judge": judge}).model_dump_json())
    monkeypatch.setattr(verl_entry.pkgutil, "resolve_name", {"somewhere:open": factory}.__getitem__)

    async def twice() -> list[dict[str, float]]:
        return [
            await compute_score(
                data_source="fundus-r1",
                solution_str=RIGHT,
                ground_truth="Moderate NPDR",
                extra_info={"index": 0, "prompt": PROMPT.model_dump_json(), "num_turns": 2, "step": 3},
                settings=str(path),
            )
            for _ in range(2)
        ]

    first, second = asyncio.run(twice())
    assert first == second and first["score"] == 18.0
    assert Opened.calls == [(Chat(), endpoint)]
    assert "JUDGE_KEY" in path.read_text()


def test_without_a_process_reward_there_is_no_judge(tmp_path: Path) -> None:
    path = tmp_path / "rewards.json"
    path.write_text(settings("none").model_dump_json())
    assert json.loads(path.read_text())["judge"] is None
    extra = {"prompt": PROMPT.model_dump_json()}
    found = asyncio.run(compute_score("fundus-r1", RIGHT, "", extra, settings=str(path)))
    assert (found["score"], found["judge_calls"]) == (2.0, 0.0)


def test_a_judge_that_is_down_ends_the_run_long_before_its_first_step_is_over() -> None:
    rewarder = Rewarder(settings(bad_share=0.1), Scripted(findings=None))

    async def all_at_once() -> list[object]:
        rollouts = (rewarder.parts(RIGHT, PROMPT, 1) for _ in range(512))
        return list(await asyncio.gather(*rollouts, return_exceptions=True))

    found = asyncio.run(all_at_once())
    assert [isinstance(each, ModelError) for each in found].index(True) == 6
    assert "it is away" in str(found[6])
