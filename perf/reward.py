"""How fast rewards are (paper, Sec. 3.3): the rule-based parts on one core, and a batch with a slow judge.

1. Rollouts a second of what needs no judge, in one thread: the answer through the evaluation's
   extraction, the format and the share of repeated text. Every rollout is another text of about 75
   words; a part of them answers by a letter, in a sentence, wrongly, or without the form. Target:
   20,000. What else is watched, the findings that a trace states, is measured apart.
2. A batch of 64 different rollouts with a judge in a process of its own that answers each request after
   300 ms: the time for the batch over the time for a single rollout, medians of the rounds. Target: 1.2.
   Once more with each rollout four times in the batch, which takes no more requests.

    python perf/reward.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from latency import serve

from fundus_r1.models.judge import open_judge
from fundus_r1.rewards.process import ProcessValues
from fundus_r1.rewards.verl_entry import JudgeSettings, Rewarder, RewardSettings, by_rules
from fundus_r1.rewards.watch import off_vocabulary
from fundus_r1.rows import Modality, Prompt, Split
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.spec.training import GrpoScience

RATE, RATIO = 20_000, 1.2
BATCH = 64
GRADES = ("No DR", "Mild NPDR", "Moderate NPDR", "Severe NPDR", "PDR")
KEYS = ("no_dr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr")
SIGNS = ("microaneurysms", "retinal hemorrhages", "hard exudates", "cotton-wool spots", "venous beading")
KNOWLEDGE = "On CFP, it is characterized by {}. There should be no evidence of neovascularization."
PROMPT = Prompt(
    triplet_id="t", sample_id="s", prompt="Which grade?", answer="Moderate NPDR",
    options=dict(zip("ABCDE", GRADES, strict=True)), option_labels=dict(zip("ABCDE", KEYS, strict=True)),
    modality=Modality.CFP, findings=("microaneurysm", "retinal_hemorrhage"), split=Split.TRAIN,
)  # fmt: skip


def rollout(number: int) -> str:
    """A rollout of about 75 words, like no other."""
    draw = random.Random(number)
    first, second, third = draw.sample(SIGNS, 3)
    grade, letter = draw.choice(list(zip(GRADES, "ABCDE", strict=True)))
    trace = (
        f"Color fundus photograph {number} shows {draw.randint(2, 90)} {first} and some {second} scattered "
        f"across the posterior pole, most of them {draw.randint(1, 9)} disc diameters temporal to the fovea. "
        f"No neovascularization or vitreous hemorrhage is seen; the optic disc has sharp margins. Together "
        f"with {third}, such {first} are characteristic of {grade}, and {second} may support it further. "
        f"There is nothing that would point to a more severe stage than this one. Therefore the answer "
        f"is {grade}."
    )
    answer = draw.choice([grade, letter, f"{letter}. {grade}", f"The answer is {letter}."])
    closing = "" if number % 10 == 0 else "</answer>"
    return f"<think>{trace}</think> <answer>{answer}{closing}"


def settings(judge: JudgeSettings | None) -> RewardSettings:
    texts = {f"{key}|CFP": KNOWLEDGE.format(sign) for key, sign in zip(KEYS, SIGNS, strict=True)}
    science = GrpoScience()
    return RewardSettings(
        mode="selective", values=ProcessValues.of(science), knowledge_texts=texts, judge=judge,
        bad_share=science.bad_share,
    )  # fmt: skip


def rules(number: int) -> None:
    """Prints the rates of what needs no judge."""
    texts = [rollout(place) for place in range(number)]
    vocabulary = frozenset(PROMPT.findings)

    def rate(work: object, some: list[str]) -> float:
        start = time.process_time()  # others' work on the core is not counted
        for text in some:
            work(text)  # type: ignore[operator]
        return len(some) / (time.process_time() - start)

    rates = sorted(rate(lambda text: by_rules(text, PROMPT), texts) for _ in range(5))
    print(f"answer, format, repeated text: {statistics.median(rates):,.0f} rollouts/s on one core "
          f"(five rounds of {number}: {rates[0]:,.0f} to {rates[-1]:,.0f}; target {RATE:,})")  # fmt: skip
    read = rate(lambda text: off_vocabulary(text, vocabulary), texts[: max(1, number // 20)])
    print(
        f"findings that a trace states, in the time in which the judge is waited for: {read:,.0f} rollouts/s"
    )


@contextmanager
def judge_with(latency_s: float) -> Iterator[Endpoint]:
    """The endpoint of a judge in a process of its own, which computes nothing."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    said = json.dumps({"verdict": "plausible"})
    server = spawn.Process(target=serve, args=(latency_s, 1, there, said), daemon=True)
    server.start()
    try:
        yield Endpoint(url=f"http://127.0.0.1:{here.recv()}/v1", concurrency=128)
    finally:
        server.terminate()
        server.join()


def batches(latency_s: float, rounds: int) -> None:
    """Prints how long a batch takes, over a single rollout."""
    with judge_with(latency_s) as endpoint:
        chat = Chat(engine="openai", model="idle")
        opened = open_judge(chat, endpoint)
        rewarder = Rewarder(settings(JudgeSettings(factory="", chat=chat, endpoint=endpoint)), opened)
        numbers = iter(range(10**6, 10**9))

        async def batch(different: int, times: int = 1) -> float:
            texts = [rollout(next(numbers)) for _ in range(different)] * times
            start = time.perf_counter()
            parts = await asyncio.gather(*(rewarder.parts(text, PROMPT) for text in texts))
            seconds = time.perf_counter() - start
            assert all(part["judge_failed"] == 0 for part in parts), parts
            assert sum(part["judge_calls"] - part["judge_cached"] for part in parts) == different
            return seconds

        async def measured() -> list[tuple[float, float, float]]:
            await batch(BATCH)  # opens connections and threads, which live as long as the run
            return [(await batch(1), await batch(BATCH), await batch(BATCH // 4, 4)) for _ in range(rounds)]

        single, whole, fourfold = zip(*asyncio.run(measured()), strict=True)
    one = statistics.median(single)
    for name, found in ((f"{BATCH} rollouts", whole), (f"{BATCH // 4} rollouts four times each", fourfold)):
        ratios = sorted(seconds / one for seconds in found)
        spread = f"{rounds} rounds: {ratios[0]:.3f} to {ratios[-1]:.3f}; target {RATIO}"
        print(f"{name}: {statistics.median(found):.3f} s, one: {one:.3f} s, "
              f"ratio {statistics.median(ratios):.3f} ({spread})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--latency", type=float, default=0.3, help="seconds")
    given = parser.parse_args()
    rules(given.rollouts)
    batches(given.latency, given.rounds)


if __name__ == "__main__":
    main()
