"""The reward of rollouts written by hand, one for each branch of Eq. 4 and each odd case.

What each is worth was worked out by hand and stands beside it; nothing renews it. All other parts, and
what the judge was asked, are in a golden file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fundus_r1.prompts.verdicts import FindingsVerdict, Graded, KnowledgeVerdict
from fundus_r1.rewards.process import ProcessValues
from fundus_r1.rewards.verl_entry import Rewarder, RewardSettings
from fundus_r1.rows import Prompt, Split

HERE = Path(__file__).parent / "golden"
WRITTEN: dict[str, Any] = yaml.safe_load((HERE / "rollouts.yaml").read_text(encoding="utf-8"))
ROLLOUTS: dict[str, dict[str, Any]] = WRITTEN["rollouts"]
VALUES = ProcessValues(
    plausible=16.0, tenuous=8.0, flawed=4.0, plausible_if_wrong=2.0, other_branch=32.0, unjudged=0.5
)


class Scripted:
    """Gives a rollout's verdicts, and writes down what it was asked."""

    def __init__(self, rollout: dict[str, Any]):
        self.findings = rollout.get("findings", "tenuous")
        self.knowledge = rollout.get("knowledge", "plausible")
        self.asked: list[str] = []

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> Graded[FindingsVerdict]:
        self.asked.append(f"{trace!r} against {', '.join(findings) or 'no finding'}")
        return Graded(None if self.findings == "missing" else self.findings, by_rules="plausible")

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> Graded[KnowledgeVerdict]:
        self.asked.append(f"{trace!r} as a way to {answer!r} against {description!r}")
        return Graded(None if self.knowledge == "missing" else self.knowledge, by_rules="plausible")


def rewarded(rollout: dict[str, Any]) -> dict[str, Any]:
    """All parts, and what the judge was asked."""
    question = WRITTEN["questions"][rollout.get("ask", "grade")]
    prompt = Prompt(triplet_id="t", sample_id="s", prompt="?", split=Split.TRAIN, **question)
    text = rollout.get("text", f"<think>Red dots.</think> <answer>{rollout.get('answer')}</answer>")
    settings = RewardSettings(
        mode=rollout.get("mode", "selective"),
        values=VALUES,
        knowledge_texts=WRITTEN["knowledge"],
        judge=None,
        bad_share=1.0,
    )
    judge = Scripted(rollout)
    parts = asyncio.run(Rewarder(settings, judge).parts(text, prompt))
    return {**parts, "asked": sorted(judge.asked)}


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_rollout_is_worth_what_was_worked_out_by_hand(name: str) -> None:
    found = rewarded(ROLLOUTS[name])
    assert [found["answer"], found["format"], found["process"]] == ROLLOUTS[name]["gives"]
    assert found["score"] == sum(ROLLOUTS[name]["gives"])


def test_golden_parts(golden_bytes: Callable[[Path, bytes], None]) -> None:
    def told(parts: dict[str, Any]) -> str:
        return json.dumps({key: value for key, value in parts.items() if value}, ensure_ascii=False)

    lines = [f"  {json.dumps(name)}: {told(rewarded(rollout))}" for name, rollout in ROLLOUTS.items()]
    golden_bytes(HERE / "parts.json", ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def test_the_rollouts_reach_every_verdict_and_every_odd_case() -> None:
    found = [rewarded(rollout) for rollout in ROLLOUTS.values()]
    assert len(found) >= 60
    watched = {"judge_s", "judge_cached", "judge_addressed", "repeated", "findings_stated", "off_vocabulary"}
    for key in found[0].keys() - watched:
        assert any(parts[key] for parts in found) and not all(parts[key] for parts in found), key
