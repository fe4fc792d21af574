"""Stage 8 as a whole: verl trains a tiny student that has learnt eight answers by heart.

The student answers three questions rightly, four wrongly and one without the form, and a judge
behind real HTTP says what its script says. So every branch of Eq. 4 occurs, and must arrive in the
reward that verl trains on. On its way the run is killed with -9 again and again, at other moments
and in other processes, and goes on each time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from by_heart import learn_by_heart
from grpo_case import (
    CASES,
    IMAGES,
    PIXELS,
    ROWS,
    SAVE_STEPS,
    SCIENCE,
    STEPS,
    STUDENT,
    ScriptedJudge,
    a_slice,
    context,
    given,
)

from fundus_r1.errors import EXIT_TRANSIENT, ModelError, StageError
from fundus_r1.rows import Prompt, Split
from fundus_r1.spec import Science
from fundus_r1.spec.models import Chat, Models
from fundus_r1.spec.placement import Endpoint, Endpoints
from fundus_r1.spec.training import GrpoScience
from fundus_r1.stages import grpo as stage
from fundus_r1.stages.execute import run_job
from fundus_r1.stages.job import StageJob
from fundus_r1.storage.output import StageOutput
from fundus_r1.training import checkpoints

# ---- without verl ----------------------------------------------------------------------


def test_only_what_changes_the_model_is_in_the_slice() -> None:
    cuts = {setup: stage.STAGE.select(Science(setup=setup)) for setup in "ABCDEFGHIJ"}
    assert [setup for setup, cut in cuts.items() if cut.train] == list("CDFGHIJ")
    assert {setup: cut.process for setup, cut in cuts.items() if cut.process != "none"} == {
        "G": "selective", "H": "vf", "I": "dk", "J": "sum",
    }  # fmt: skip
    assert all((cut.judge is None) == (cut.process == "none") for cut in cuts.values())
    other_judge = Models(judge=Chat(engine="rules"))
    assert stage.STAGE.select(Science(setup="F", models=other_judge)) == cuts["F"]
    assert stage.STAGE.select(Science(setup="G", models=other_judge)) != cuts["G"]


def test_a_setup_without_grpo_leaves_a_record_and_no_model(tmp_path: Path) -> None:
    ctx = context(tmp_path, a_slice(train=False), ROWS)
    assert stage.run(ctx).counts == {"trained": 0}
    assert ctx.output.files == {}


def test_a_judge_without_an_endpoint_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no endpoint is given"):
        stage.run(context(tmp_path, a_slice(), ROWS))


def test_a_judge_that_does_not_answer_is_told_before_verl_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", "k")
    ctx = context(tmp_path, a_slice(), ROWS, "http://127.0.0.1:9/v1")
    judge = Endpoint(url="http://127.0.0.1:9/v1", api_key_env="TEST_JUDGE_KEY", deadline_s=0.3)
    ctx.placement = ctx.placement.model_copy(update={"endpoints": Endpoints(judge=judge)})
    with pytest.raises(ModelError, match="cannot be reached"):
        stage.run(ctx)


@pytest.mark.engines
@pytest.mark.parametrize(
    ("rows", "science", "told"),
    [
        (ROWS[:3], SCIENCE, "There are 3 GRPO prompts, which is no batch of 4"),
        ([row.model_copy(update={"split": Split.VALIDATION}) for row in ROWS], SCIENCE, "There are 0 GRPO"),
        (ROWS, SCIENCE.model_copy(update={"max_prompt_length": 10}), "8 more are longer than 10 tokens"),
    ],
)
def test_too_few_prompts_are_told_before_verl_starts(
    tmp_path: Path, rows: list[Prompt], science: GrpoScience, told: str
) -> None:
    ctx = context(tmp_path, a_slice(grpo=science, process="none", judge=None), rows)
    with pytest.raises(StageError, match=told) as caught:
        stage.run(ctx)
    assert "science.grpo" in caught.value.hint


@pytest.mark.engines
def test_without_sft_the_student_itself_is_the_start_and_gets_the_limits_of_pixels(tmp_path: Path) -> None:
    from transformers import AutoProcessor

    cut = stage.STAGE.select(Science(setup="C", pixels=PIXELS, models=Models(student=STUDENT)))
    start = stage._start(context(tmp_path, cut, ROWS), tmp_path / "start")
    size = AutoProcessor.from_pretrained(start).image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (PIXELS.min_pixels, PIXELS.max_pixels)


@pytest.mark.engines
def test_a_checkpoint_of_another_number_of_processes_is_refused_before_verl_starts(tmp_path: Path) -> None:
    cut = stage.STAGE.select(Science(setup="C", grpo=SCIENCE, models=Models(student=STUDENT)))
    ctx = context(tmp_path, cut, ROWS)
    actor = tmp_path / "checkpoint" / "actor"
    actor.mkdir(parents=True)
    (actor / "fsdp_config.json").write_text('{"world_size": 2}')
    checkpoints.save(ctx.store, ctx.output.prefix, 3, tmp_path / "checkpoint")
    with pytest.raises(StageError, match="written by 2 processes; verl cannot go on with 1") as caught:
        stage.run(ctx)
    assert caught.value.where == "placement.grpo.processes" and "set it to 2" in caught.value.hint


# ---- with verl -------------------------------------------------------------------------


@dataclass
class Attempt:
    """One try at the stage, and how it was ended."""

    code: int
    """Exit code of the stage's process."""
    said: str
    events: list[dict[str, Any]]
    left: list[str]
    """Processes that outlived it."""

    @property
    def notes(self) -> list[str]:
        return [event["text"] for event in self.events if event["kind"] == "note"]

    @property
    def steps(self) -> list[int]:
        """Steps that verl told of."""
        return [event["done"] for event in self.events if event["kind"] == "progress"]

    @property
    def went_on_from(self) -> int:
        """The checkpoint's step; 0 if it began anew."""
        found = [re.fullmatch(r"goes on from the checkpoint of step (\d+)", note) for note in self.notes]
        return next((int(match[1]) for match in found if match), 0)


@dataclass
class Run:
    """A finished run and what was seen of it."""

    output: StageOutput
    judge: ScriptedJudge
    kept: Path
    """verl's own dumps and our journal of the last try."""
    start: Path
    killed: list[Attempt]
    """The tries that were killed: the stage while it starts, verl's trainer of the policy before the first
    checkpoint, vLLM in the middle of a step's rollouts, and verl's program while it stores a checkpoint."""
    last: Attempt

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_bytes(name).splitlines()]


def below(pid: int) -> dict[psutil.Process, str]:
    """The processes that a process has started, and those that these have: process -> its command."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[process] = " ".join(process.cmdline())
    return found


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


STAGE_AS_A_PROGRAM = """
import shutil, sys
from pathlib import Path
from fundus_r1.errors import FundusError
from fundus_r1.stages import grpo
from fundus_r1.stages.execute import run_job
from fundus_r1.stages.job import StageJob
from fundus_r1.training.grpo import train

def keeping(job, rows):
    outcome = train(job, rows)
    for name in ("rollouts", "journal"):
        shutil.copytree(job.work / name, Path(sys.argv[2], name))
    return outcome

grpo.train = keeping
try:
    run_job(StageJob.model_validate_json(Path(sys.argv[1]).read_bytes()))
except FundusError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def attempt(
    job: Path, log: Path, moment: Callable[[dict[psutil.Process, str]], bool] | None = None, victim: str = ""
) -> Attempt:
    """Runs the stage to its end, or until a process of it is killed.

    Args:
        job: JSON of what is run; what is kept of the try that gets to the end goes beside it.
        log: what it says; its events go beside it.
        moment: told all processes below the stage's, when to kill.
        victim: how the process's command begins; without one it is the stage's own.
    """
    events = log.with_suffix(".jsonl")
    argv = [sys.executable, "-c", STAGE_AS_A_PROGRAM, str(job), str(job.parent / "kept")]
    seen: dict[psutil.Process, str] = {}
    with log.open("w") as file:
        started = subprocess.Popen(
            argv, stdout=file, stderr=file, env={**os.environ, "FUNDUS_R1_EVENTS": str(events)}
        )
        end = time.monotonic() + 600
        while started.poll() is None:
            assert time.monotonic() < end, log.read_text()[-3000:]
            seen |= below(started.pid)
            if moment is not None and moment(seen):
                wanted = [process.pid for process, told in seen.items() if told.startswith(victim)]
                for pid in wanted if victim else [started.pid]:
                    os.kill(pid, signal.SIGKILL)
                moment = None
            time.sleep(0.1)
    assert moment is None, f"it ended before it was killed: {log.read_text()[-3000:]}"
    end = time.monotonic() + 30
    while (left := living(seen)) and time.monotonic() < end:
        time.sleep(0.2)
    told = events.read_text().splitlines() if events.exists() else []
    return Attempt(started.returncode, log.read_text(), [json.loads(line) for line in told], left)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("grpo")
    said = [(row, image, CASES[row.triplet_id].response) for row, image in zip(ROWS, IMAGES, strict=True)]
    start = learn_by_heart(folder / "start", STUDENT, said, enough=0.003)
    patch = pytest.MonkeyPatch()
    patch.setenv("TEST_JUDGE_KEY", "not-a-real-key")
    with ScriptedJudge() as judge:
        ctx = context(folder, a_slice(), ROWS, judge.url)
        inputs = {"trainset": "trainset" * 8, "sft": "sft" * 8}
        given(ctx.store, "sft", {}, start)
        job = StageJob(
            stage="grpo", science=a_slice().model_dump(mode="json"), placement=ctx.placement, inputs=inputs
        )
        path = folder / "job.json"
        path.write_text(job.model_dump_json())

        def once(pattern: str, mark: str) -> Callable[[dict[psutil.Process, str]], bool]:
            """When there is such a file, and a process whose command begins so."""
            return lambda seen: (
                any(told.startswith(mark) for told in seen.values()) and any(folder.glob(pattern))
            )

        work, stored = "cache/*/journal", "store/grpo/*/checkpoints"
        killed = [
            attempt(path, folder / "starting.log", once("job.json", "ray::TaskRunner"), ""),
            attempt(
                path, folder / "first.log", once(f"{work}/1.jsonl", "ray::WorkerDict"), "ray::WorkerDict"
            ),
            attempt(path, folder / "rollouts.log", once(f"{work}/4.jsonl", "VLLM::"), "VLLM::"),
            attempt(
                path,
                folder / "storing.log",
                once(f"{stored}/*4/files/*", "ray::TaskRunner"),
                "ray::TaskRunner",
            ),
        ]
        last = attempt(path, folder / "last.log")
        assert last.code == 0, last.said[-3000:]
        yield Run(run_job(job), judge, folder / "kept", start, killed, last)
    patch.undo()


@pytest.mark.long
@pytest.mark.engines
def test_every_branch_arrives_with_its_value_in_the_reward_that_verl_trains_on(run: Run) -> None:
    """verl's dumps (what it trained on) against the script (what the judge said)."""
    seen: dict[str, set[str]] = {}
    journal = {}
    for path in (run.kept / "journal").glob("*.jsonl"):
        journal |= {line["uid"]: line for line in map(json.loads, path.read_text().splitlines())}
    dumped = [
        json.loads(line)
        for path in (run.kept / "rollouts").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(dumped) == len(journal) == 16 * (STEPS - run.last.went_on_from)
    for line in dumped:
        told = journal[line["uid"]]
        case = CASES[told["triplet_id"]]
        assert f"Question {case.question}:" in line["input"]
        assert line["output"] == told["text"]
        assert line["score"] == pytest.approx(told["answer"] + told["format"] + told["process"])
        if line["output"] == case.response:
            assert line["score"] == pytest.approx(sum(case.parts)), case.question
            assert told[case.branch] == 1
            seen.setdefault(case.branch, set()).add(case.question)
    assert seen == {
        "findings_plausible": {"one"}, "findings_tenuous": {"two"}, "findings_flawed": {"three"},
        "knowledge_plausible": {"four"}, "knowledge_implausible": {"five"},
        "not_judged": {"six", "seven", "eight"},
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.engines
def test_the_two_references_are_never_used_together(run: Run) -> None:
    findings = ("findings_plausible", "findings_tenuous", "findings_flawed")
    knowledge = ("knowledge_plausible", "knowledge_implausible")
    for line in run.lines("rollouts.jsonl"):
        assert sum(line[key] for key in (*findings, *knowledge)) == 1 - line["not_judged"]
        assert not any(line[key] for key in (knowledge if line["answer"] else findings))


@pytest.mark.long
@pytest.mark.engines
def test_vllm_and_the_trainer_have_the_same_weights_after_each_step(run: Run) -> None:
    """The student is sure of its words, so wrong weights, or a blind vision tower, would show."""
    assert float(run.output.record.counts["rollout_agreement"] or 0) > 0.99


@pytest.mark.long
@pytest.mark.engines
def test_the_judge_was_asked_over_http_with_the_key_and_nothing_keeps_the_key(run: Run) -> None:
    assert {request["key"] for request in run.judge.asked} == {"Bearer not-a-real-key"}
    assert {request["model"] for request in run.judge.asked} == {"scripted-judge"}
    for name in run.output.names():
        assert b"not-a-real-key" not in run.output.read_bytes(name), name


@pytest.mark.long
@pytest.mark.engines
def test_each_kill_is_told_and_may_be_tried_again(run: Run) -> None:
    stage_itself, *workers = run.killed
    assert stage_itself.code == -signal.SIGKILL
    for tried, told in zip(
        workers, ("WorkerDict was killed", "A rollout failed", "TaskRunner|verl ended"), strict=True
    ):
        assert tried.code == EXIT_TRANSIENT, tried.said[-3000:]
        assert re.search(told, tried.said), tried.said[-3000:]
        assert "goes on from the last checkpoint" in tried.said


@pytest.mark.long
@pytest.mark.engines
def test_each_try_says_where_it_begins_and_does_at_most_a_checkpoints_worth_of_steps_again(run: Run) -> None:
    done = 0
    for tried in [*run.killed[1:], run.last]:
        assert done - tried.went_on_from <= SAVE_STEPS
        assert tried.steps == list(range(tried.went_on_from + 1, tried.went_on_from + 1 + len(tried.steps)))
        done = tried.went_on_from + len(tried.steps)
    assert done == STEPS
    assert [tried.went_on_from for tried in run.killed] == [0, 0, 0, 3]
    assert run.last.went_on_from in (3, 4), "the checkpoint of step 4 was being stored when it was killed"
    assert run.output.record.counts["resumed_from"] == run.last.went_on_from


@pytest.mark.long
@pytest.mark.engines
def test_no_process_outlives_a_kill_or_the_end(run: Run) -> None:
    assert [tried.left for tried in [*run.killed, run.last]] == [[]] * 5


@pytest.mark.long
@pytest.mark.engines
def test_after_the_kills_no_step_is_missing_or_double(run: Run) -> None:
    rows = run.lines("rewards.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(row["rollouts"] == 16 for row in rows)
    for row in rows:
        assert row["score"] == pytest.approx(row["answer"] + row["format"] + row["process"])
        mine = [line for line in run.lines("rollouts.jsonl") if line["step"] == row["step"]]
        assert len({line["uid"] for line in mine}) == 16
        assert row["response_length"] == pytest.approx(np.mean([line["response_length"] for line in mine]))
    counts = run.output.record.counts
    assert (counts["trained"], counts["steps"], counts["too_long"]) == (8, STEPS, 0)
    assert (counts["first_score"], counts["last_score"]) == (rows[0]["score"], rows[-1]["score"])


def undisturbed_order() -> list[set[str]]:
    """The questions of each step as verl's own sampler and loader give them to a run that nobody kills."""
    from omegaconf import OmegaConf
    from torchdata.stateful_dataloader import StatefulDataLoader
    from verl.trainer.ppo.utils import create_rl_sampler

    questions = [row.triplet_id for row in ROWS]
    sampler = create_rl_sampler(OmegaConf.create({"shuffle": True, "seed": SCIENCE.seed}), questions)
    loader = StatefulDataLoader(questions, batch_size=SCIENCE.batch_size, sampler=sampler, drop_last=True)
    return [set(batch) for _ in range(SCIENCE.epochs) for batch in loader]


@pytest.mark.long
@pytest.mark.engines
def test_after_the_kills_the_questions_come_in_the_order_of_an_undisturbed_run(run: Run) -> None:
    asked: list[set[str]] = [set() for _ in range(STEPS)]
    for line in run.lines("rollouts.jsonl"):
        asked[line["step"] - 1].add(line["triplet_id"])
    assert asked == undisturbed_order()
    assert len({frozenset(each) for each in asked}) > 2, "epochs have orders of their own"


@pytest.mark.long
@pytest.mark.engines
def test_each_step_tells_what_verl_measured_without_a_gap(run: Run) -> None:
    rows = run.lines("rewards.jsonl")
    for name in ("kl", "entropy", "clip_share", "grad_norm", "learning_rate", "step_s", "tokens_per_s"):
        assert all(math.isfinite(row[name]) for row in rows), name
    assert all(row["learning_rate"] == pytest.approx(SCIENCE.learning_rate) for row in rows)
    assert all(0 < row["rollouts_s"] < row["step_s"] for row in rows)
    assert all(row["response_length"] <= row["response_length_max"] <= 64 for row in rows)
    for row in rows:
        mine = [line for line in run.lines("rollouts.jsonl") if line["step"] == row["step"]]
        groups = [[line["score"] for line in mine if line["triplet_id"] == one] for one in CASES]
        same = [len(set(group)) == 1 for group in groups if group]
        assert row["zero_advantage"] == pytest.approx(np.mean(same))


@pytest.mark.long
@pytest.mark.engines
def test_the_trained_model_loads_and_has_learnt(run: Run, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = run.output.download_folder("model", tmp_path / "model")
    AutoProcessor.from_pretrained(folder)
    assert AutoModelForImageTextToText.from_pretrained(folder).num_parameters() > 0
    assert float(run.output.record.counts["weights_changed"] or 0) > 0.5
    without_weights = {path.name for path in run.start.iterdir()} - {"model.safetensors"}
    assert without_weights <= {path.name for path in folder.iterdir()}


@pytest.mark.long
@pytest.mark.engines
def test_the_output_tells_how_it_came_about_and_keeps_no_checkpoint(run: Run) -> None:
    import yaml

    configuration = yaml.safe_load(run.output.read_bytes("verl.yaml"))
    assert configuration["actor_rollout_ref"]["rollout"]["n"] == 4
    assert configuration["actor_rollout_ref"]["rollout"]["prompt_length"] == 256
    assert b"Training Progress" in run.output.read_bytes("verl.log")
    assert run.output.record.models == {"student": "tiny-64x2-seed0", "judge": "scripted-judge-1"}
    assert not list(run.output.store.list(f"{run.output.record.prefix}/checkpoints/"))
