"""The report's training section on logs as the stages write them: each setup shows what it trains with."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from made_run import put

from fundus_r1.spec.setups import SETUPS, Setup
from fundus_r1.stages.report_training import PROCESS, training
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import StageOutput
from fundus_r1.training.grpo_steps import step_row

VERL = {
    "actor/kl_loss": 0.01, "actor/entropy": 2.0, "actor/pg_clipfrac": 0.1, "actor/grad_norm": 3.0,
    "timing_s/step": 3.0,
    "timing_s/old_log_prob": 0.25, "timing_s/ref": 0.5,
}  # fmt: skip


def sft_log(steps: int = 3) -> list[dict[str, Any]]:
    rows = [
        {
            "step": step, "loss": 3.0 / step, "learning_rate": 1e-3, "grad_norm": 1.0, "tokens": 500,
            "learnt_tokens": 100, "tokens_per_s": 200.0, "mfu": None, "memory": 3 * 2**29,
        }
        for step in range(1, steps + 1)
    ]  # fmt: skip
    return [*rows, {"step": steps, "eval_loss": 2.0}]


def rollout(number: int, judged: bool) -> dict[str, Any]:
    verdicts = ("findings_plausible", "findings_tenuous", "findings_flawed", "knowledge_plausible")
    return {
        "step": 1, "uid": f"p_{number}_0", "triplet_id": "t", "text": "…", "response_length": 50 + number,
        "score": 2.0 + number, "answer": 1.0, "format": 1.0, "process": float(number),
        **dict.fromkeys(verdicts, 0.0),
        "findings_plausible": float(judged),
        "judge_calls": float(judged), "judge_cached": float(judged and number == 0), "judge_failed": 0.0,
        "judge_s": 0.3 * judged, "judge_agrees": float(judged), "judge_addressed": 0.0,
        "repeated": 0.125, "findings_stated": 2.0, "off_vocabulary": 0.5,
    }  # fmt: skip


def outputs(store: FolderStore, setup: Setup) -> dict[str, StageOutput]:
    """What stages 7 and 8 of a setup leave behind."""
    recipe = SETUPS[setup]
    judged = recipe.process != "none"
    grpo = [step_row(step, [rollout(n, judged) for n in range(4)], VERL, limit=53) for step in (1, 2)]

    def write(name: str, lines: Sequence[dict[str, Any]], wanted: bool) -> StageOutput:
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        stage = "sft" if name == "log.jsonl" else "grpo"
        return put(store, stage, lambda writer: writer.write_bytes(name, data) if wanted else None)

    return {
        "sft": write("log.jsonl", sft_log(), recipe.sft),
        "grpo": write("rewards.jsonl", grpo, recipe.grpo),
    }


def shown(store: FolderStore, setup: Setup) -> dict[str, dict[str, Any]]:
    """Title of a figure -> the figure, of all parts."""
    parts = training(outputs(store, setup), SETUPS[setup].process)
    return {f"{part['title']}: {figure['title']}": figure for part in parts for figure in part["figures"]}


@pytest.mark.parametrize(
    ("setup", "parts"),
    [
        ("A", []),
        ("B", ["Supervised fine-tuning"]),
        ("C", ["GRPO, without a process reward", "Signs of reward hacking"]),
        ("E", ["Supervised fine-tuning"]),
        ("F", ["Supervised fine-tuning", "GRPO, without a process reward", "Signs of reward hacking"]),
        *(
            (
                setup,
                ["Supervised fine-tuning", f"GRPO, {PROCESS[mode]}", "The judge", "Signs of reward hacking"],
            )
            for setup, mode in (("G", "selective"), ("H", "vf"), ("I", "dk"), ("J", "sum"))
        ),
    ],
)
def test_a_setup_shows_what_it_trains_with(store: FolderStore, setup: Setup, parts: list[str]) -> None:
    found = training(outputs(store, setup), SETUPS[setup].process)
    assert [part["title"] for part in found] == parts


def test_the_process_reward_is_named_beside_the_rewards_and_left_out_where_there_is_none(
    store: FolderStore,
) -> None:
    [with_process] = [figure for title, figure in shown(store, "J").items() if title.endswith("GRPO reward")]
    assert with_process["keys"] == ["sum", "answer", "format", "process"]
    assert "the sum of both terms" in with_process["words"]
    [without] = [figure for title, figure in shown(store, "F").items() if title.endswith("GRPO reward")]
    assert without["keys"] == ["sum", "answer", "format"] and "without a process" in without["words"]


def test_all_that_is_watched_has_a_figure(store: FolderStore) -> None:
    titles = {title.split(": ")[-1] for title in shown(store, "G")}
    assert {
        "SFT loss", "Learning rate", "Gradients", "Speed", "Memory", "GRPO reward", "KL", "Entropy",
        "Clipped",
        "Zero advantage", "Response length", "Cut off", "Time of a step", "Verdicts on right answers",
        "Judge's latency", "Judge's answers", "Repetition", "Off the vocabulary", "Judge against rules",
    } <= titles  # fmt: skip


def test_what_no_row_has_is_not_drawn(store: FolderStore) -> None:
    """MFU is not known on a CPU, and nobody was judged on a wrong answer."""
    found = shown(store, "G")
    assert not any("Use of the device" in title or "wrong answers" in title for title in found)
    assert found["The judge: Verdicts on right answers"]["keys"] == ["plausible"]
    assert all("<circle" in figure["plot"] or "<polyline" in figure["plot"] for figure in found.values())


def last(figure: dict[str, Any], curve: str) -> float:
    told = re.search(rf"<title>{curve}: last ([^<]+)</title>", figure["plot"])
    assert told is not None
    return float(told[1])


def test_the_figures_show_shares_of_verdicts_and_gibibytes(store: FolderStore) -> None:
    found = shown(store, "G")
    answers = found["The judge: Judge's answers"]
    assert (last(answers, "from cache"), last(answers, "missing")) == (0.25, 0.0)
    assert last(found["The judge: Judge's latency"], "seconds") == 0.3
    hacking = "Signs of reward hacking"
    assert last(found[f"{hacking}: Off the vocabulary"], "share") == 0.25
    assert last(found[f"{hacking}: Judge against rules"], "agreement") == 1.0
    assert last(found["Supervised fine-tuning: Memory"], "GiB") == 1.5
    assert last(found[f"GRPO, {PROCESS['selective']}: Time of a step"], "log-probabilities") == 0.75
