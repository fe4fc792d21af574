"""What the process reward and its judge cost a GRPO step, over a constant reward (paper, Sec. 3.3).

One run of verl in which the two alternate step by step, so that whatever else the machine does meets
both alike: odd steps are rewarded as setup G is, by a judge in a process of its own that answers each
request after 300 ms; even steps get a constant. Prompts, rollouts, update and all of verl's
configuration but the function's name are the same; verl is made to look for finished rollouts more often
than it does (`prompt_buffer`), in steps of both kinds. The figure is the median of the steps of the one
kind over that of the other, without the first two (which open connections); the target is 1.05 at most.

A tiny student makes traces of random words in the right form, so hardly any is like another and nearly
each has to be judged; how many were is printed.

    python perf/grpo.py
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from fundus_r1.models.judge import open_judge
from fundus_r1.prompts.student import student_response
from fundus_r1.rewards.verl_entry import JudgeSettings, compute_score
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec.models import Chat, TinyModel
from fundus_r1.spec.placement import GrpoPlace, StorePlace, Trackers
from fundus_r1.spec.training import GrpoScience
from fundus_r1.training import grpo

TESTS = Path(__file__).parents[1] / "tests"
sys.path.append(str(TESTS))
from by_heart import learn_by_heart, picture  # noqa: E402
from reward import judge_with, settings  # noqa: E402

TARGET = 1.05
STUDENT = TinyModel(hidden=64, layers=2)
WORDS = ("red", "dots", "near", "the", "fovea", "and", "bright", "rim", "of", "disc", "with", "small")
GRADES = {"A": "No DR", "B": "Mild NPDR", "C": "Severe NPDR", "D": "PDR"}
KEYS = {"A": "no_dr", "B": "mild_npdr", "C": "severe_npdr", "D": "pdr"}
IMAGE = picture(3)


def prompt(number: int) -> Prompt:
    return Prompt(
        triplet_id=f"t{number}", sample_id=f"s{number}", prompt="Which grade?", answer="Mild NPDR",
        options=GRADES, option_labels=KEYS, modality=Modality.CFP, findings=("microaneurysm",),
        split=Split.TRAIN,
    )  # fmt: skip


def answer(number: int, words: int) -> str:
    """A response in the right form, like hardly another."""
    draw = random.Random(number)
    return student_response(" ".join(draw.choices(WORDS, k=words)), draw.choice(list(GRADES.values())))


async def alternating(*args: Any, extra_info: dict[str, Any], **more: Any) -> dict[str, float]:
    """verl's reward function: ours in odd steps, a constant in even ones."""
    if extra_info["step"] % 2:
        return await compute_score(*args, extra_info=extra_info, **more)
    return {"score": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help="of each kind")
    parser.add_argument("--prompts", type=int, default=8, help="in a step")
    parser.add_argument("--words", type=int, default=24, help="in a trace")
    parser.add_argument("--latency", type=float, default=0.3, help="seconds")
    given = parser.parse_args()
    tokens = 3 * given.words
    science = GrpoScience(
        rollouts=4, epochs=2 * (given.steps + 1), learning_rate=1e-7, batch_size=given.prompts,
        mini_batch_size=given.prompts, max_prompt_length=256, max_response_length=tokens, precision="fp32",
    )  # fmt: skip
    whole = grpo.verl_overrides

    def with_ours(*args: Any) -> Any:
        function, sampler = "reward.custom_reward_function", "trainer.v1.sampler.custom_sampler"
        return whole(*args) | {
            f"{function}.path": __file__,
            f"{function}.name": alternating.__name__,
            f"{sampler}.path": str(Path(__file__).with_name("prompt_buffer.py")),
            f"{sampler}.name": "PromptBuffer",
        }

    grpo.verl_overrides = with_ours
    # verl's processes load this file by its path; they need what it imports.
    paths = [str(Path(__file__).parent), str(TESTS)]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    with tempfile.TemporaryDirectory() as name, judge_with(given.latency) as endpoint:
        folder = Path(name)
        taught = [(prompt(0), IMAGE, answer(number, given.words)) for number in range(48)]
        start = learn_by_heart(folder / "start", STUDENT, taught, enough=1.28)
        judge = JudgeSettings(
            factory=f"{open_judge.__module__}:{open_judge.__name__}",
            chat=Chat(engine="openai", model="idle"),
            endpoint=endpoint,
        )
        work = folder / "work"
        work.mkdir()
        job = grpo.GrpoJob(
            science=science,
            place=GrpoPlace(
                device="cpu", processes=1, micro_batch_size=8, max_model_len=256 + tokens, save_steps=10**6,
                stall_s=600, empty_advantage_steps=None,
            ),
            store=StorePlace(kind="folder", path=str(folder / "store")),
            prefix="grpo/perf",
            model=start,
            rewards=settings(judge).model_dump_json(),
            trackers=Trackers(),
            work=work,
        )  # fmt: skip
        outcome = grpo.train(job, [(prompt(number), IMAGE) for number in range(given.prompts)])
    report(outcome.history.rewards[2:], given.latency)


def report(rows: list[dict[str, Any]], latency_s: float) -> None:
    """Prints the ratio, and what of the steps was judged."""
    ours, constant = ([row for row in rows if row["step"] % 2 == kind] for kind in (1, 0))
    took, free = (statistics.median(row["step_s"] for row in kind) for kind in (ours, constant))
    spread = [
        "/".join(f"{part:.2f}" for part in statistics.quantiles([row["step_s"] for row in kind]))
        for kind in (ours, constant)
    ]
    print(f"step with our reward: {took:.2f} s ({len(ours)} steps, quartiles {spread[0]})")
    print(f"step with a constant: {free:.2f} s ({len(constant)} steps, quartiles {spread[1]})")
    print(f"ratio of the medians {took / free:.3f} (target {TARGET})")
    asked = statistics.fmean(row["rollouts"] * (row["judge_calls"] - row["judge_cached"]) for row in ours)
    tokens = statistics.fmean(row["response_length"] for row in ours)
    print(
        f"a step has {ours[0]['rollouts']} rollouts of {tokens:.0f} tokens; the judge, which answers after "
        f"{latency_s:g} s, was asked {asked:.0f} times"
    )


if __name__ == "__main__":
    main()
