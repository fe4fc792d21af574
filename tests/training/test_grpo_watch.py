"""Following verl's output: figures, lost rollouts, a run that hangs, and why one failed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fundus_r1.errors import StageError
from fundus_r1.progress import Progress
from fundus_r1.training.grpo_watch import AGREEMENT, Watch, bare, explain, figures, first_error

STEP = (
    "\x1b[36m(TaskRunnerV1 pid=311)\x1b[0m step:3 - global_seqlen/min:1202.0 - actor/lr:1e-06 - "
    "critic/score/mean:1.75 - response_length/mean:31.5 - training/epoch:0"
)
LOST = (
    "\x1b[36m(AgentLoopWorkerTQ pid=12)\x1b[0m ERROR:2026-11-23 23:00:00,000:Error in _run_prompt for uid=0b"
)


def watch(tmp_path: Path, stall_s: float = 60.0) -> Watch:
    progress = Progress("grpo", 4, "steps")
    return Watch(progress, failure=tmp_path / "failure.txt", stall_s=stall_s, log=tmp_path / "verl.log")


def test_a_line_without_rays_colours_and_names() -> None:
    assert bare("\x1b[36m(vLLMHttpServer pid=39)\x1b[0m (Worker pid=67) loaded") == "loaded"
    assert bare("\x1b[33m(raylet, ip=10.0.0.1)\x1b[0m text (kept)") == "(raylet, ip=10.0.0.1) text (kept)"


def test_the_figures_of_a_step() -> None:
    found = figures(STEP)
    assert found is not None
    step, values = found
    assert step == 3
    assert (values["critic/score/mean"], values["response_length/mean"], values["actor/lr"]) == (
        1.75,
        31.5,
        1e-6,
    )
    assert figures("Training Progress: 25%") is None


def test_progress_is_told_with_the_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv("FUNDUS_R1_EVENTS", str(events))
    watch(tmp_path)(STEP)
    assert '"done": 3' in events.read_text() and '"reward": 1.75' in events.read_text()


def test_rollouts_that_are_not_the_trainers_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = watch(tmp_path)
    assert seen.agreement is None
    for agreement in (0.999, 0.6, 0.998):
        seen(f"step:1 - {AGREEMENT}:{agreement} - critic/score/mean:1.0")
    assert seen.agreement == 0.6
    assert capsys.readouterr().err.count("may not have the trainer's weights") == 1


def test_a_lost_rollout_ends_the_run_with_the_judges_own_words(tmp_path: Path) -> None:
    (tmp_path / "failure.txt").write_text("The judge's endpoint does not answer\n  where: http://judge/v1")
    with pytest.raises(StageError, match="The judge's endpoint does not answer") as caught:
        watch(tmp_path)(LOST)
    assert caught.value.transient


TRACEBACK = """\
\x1b[36m(AgentLoopWorkerTQ pid=12)\x1b[0m Traceback (most recent call last):
\x1b[36m(AgentLoopWorkerTQ pid=12)\x1b[0m ray.exceptions.ActorDiedError: The actor died because of an error
\x1b[36m(AgentLoopWorkerTQ pid=12)\x1b[0m     return module.load()
\x1b[36m(AgentLoopWorkerTQ pid=12)\x1b[0m ImportError: no module
"""


def test_a_lost_rollout_of_another_cause_ends_the_run_with_the_cause(tmp_path: Path) -> None:
    seen = watch(tmp_path)
    with pytest.raises(StageError, match=r"A rollout failed.*: ImportError: no module"):
        for line in [LOST, *TRACEBACK.splitlines()]:
            seen(line)


def test_a_lost_rollout_without_a_cause_ends_the_run_too(tmp_path: Path) -> None:
    seen = watch(tmp_path)
    with pytest.raises(StageError, match=r"GRPO must not go on without it\n"):
        for number in range(1000):
            seen(f"{LOST} {number}")


def test_talking_without_a_step_is_a_stall_but_starting_is_not(tmp_path: Path) -> None:
    seen = watch(tmp_path, stall_s=0.05)
    for _ in range(3):
        time.sleep(0.03)
        seen("(WorkerDict pid=1) Loading weights")
    seen(STEP)
    with pytest.raises(StageError, match=r"no step for 0\.05 s"):
        for _ in range(3):
            time.sleep(0.03)
            seen("(raylet) still waiting")


LOG = """\
\x1b[36m(WorkerDict pid=9)\x1b[0m UserWarning: not an error: nothing
\x1b[36m(WorkerDict pid=9)\x1b[0m Traceback (most recent call last):
\x1b[36m(WorkerDict pid=9)\x1b[0m   File "x.py", line 1, in f
\x1b[36m(WorkerDict pid=9)\x1b[0m torch.OutOfMemoryError: CUDA out of memory
ray.exceptions.RayTaskError(OutOfMemoryError): \x1b[36mray::TaskRunnerV1.run()\x1b[39m (pid=7)
RuntimeError: another process is gone
"""


def test_the_first_error_is_the_cause() -> None:
    assert first_error(LOG.splitlines()) == "torch.OutOfMemoryError: CUDA out of memory"
    assert first_error(["ray.exceptions.RayTaskError(ValueError): ray::f()"]) is not None
    assert first_error(["all is well", "Loading: 100%"]) is None


def test_the_explanation_names_cause_and_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "verl.log"
    log.write_text(LOG)
    error = explain(1, log)
    assert "CUDA out of memory" in error.what and "exit code 1" in error.what
    assert "another process is gone" in error.where and str(log) in error.where
    assert "micro_batch_size" in error.hint and error.transient


def test_a_run_that_says_nothing_is_explained_by_its_code(tmp_path: Path) -> None:
    log = tmp_path / "verl.log"
    log.write_text("")
    assert "exit code 3" in explain(3, log).what


def test_a_run_that_stopped_by_itself_tells_why_and_is_not_tried_again(tmp_path: Path) -> None:
    log, failure = tmp_path / "verl.log", tmp_path / "failure.txt"
    log.write_text(LOG)
    failure.write_text("The loss of GRPO step 7 is nan\n  to do: lower science.grpo.learning_rate")
    error = explain(1, log, failure)
    assert "GRPO step 7 is nan" in error.what and "learning_rate" in error.what
    assert not error.transient


KILLED = """\
ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: create_colocated_worker_cls.<locals>.WorkerDict
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""


def test_a_run_of_which_a_process_was_killed_may_be_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "verl.log"
    log.write_text(KILLED)
    error = explain(1, log)
    assert error.transient and "killed from outside" in error.hint
    assert "its process WorkerDict was killed" in error.what
