"""GRPO (paper, Sec. 3.3 and 4.1): verl on Ray, with our rewards, on GPUs or on a CPU.

verl runs as a child that owns everything it starts: a Ray of its own, the trainer's processes, and
vLLM for the rollouts. In a job of a Ray cluster (``RAY_ADDRESS`` names it) its processes run where that
Ray has GPUs. This module gives it prompts, settings and the newest checkpoint, watches it, and makes a
Hugging Face folder of what it has learnt.

Everything of a run lies in one folder, which all machines of a Ray cluster see:

=====================  =====================================================================
``prompts.parquet``    `training.grpo_prompts`
``rewards.json``       settings of the reward function (`rewards.verl_entry`)
``steps.json``         what is done with each step (`training.verl_checkpoints`)
``checkpoints/``       verl's; with each one the history up to its step
``journal/``           every rollout as it was rewarded (`training.grpo_history`)
``rollouts/``          every rollout as verl trained on it
``verl.yaml``          verl's whole configuration, resolved
``verl.log``           what it said
``model/``             the trained model
=====================  =====================================================================
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fundus_r1.errors import StageError
from fundus_r1.processes import run_child
from fundus_r1.progress import Progress, emit
from fundus_r1.rows import Prompt
from fundus_r1.spec.base import Spec
from fundus_r1.spec.placement import GrpoPlace, StorePlace, Trackers
from fundus_r1.spec.training import GrpoScience
from fundus_r1.storage import open_store
from fundus_r1.training import checkpoints
from fundus_r1.training.grpo_config import GrpoPaths, Overrides, as_arguments, verl_overrides
from fundus_r1.training.grpo_environment import OWN_RAY, environment, for_joined_ray
from fundus_r1.training.grpo_history import History, Journal, rewards_taken
from fundus_r1.training.grpo_model import merge
from fundus_r1.training.grpo_prompts import PromptLength, write_prompts
from fundus_r1.training.grpo_watch import Watch, explain
from fundus_r1.training.short_folder import short_folder

STAGE = "grpo"
CHECKPOINTS, JOURNAL, HISTORY = "checkpoints", "journal", "history"
STEP_SETTINGS, FAILURE = "steps.json", "failure.txt"
CONFIGURATION, LOG, MODEL, ROLLOUTS = "verl.yaml", "verl.log", "model", "rollouts"

# A reward is a float32 in verl's hands.
_EQUAL = 1e-5


class StepSettings(Spec):
    """What verl's trainer does with each step. Credentials of the store are the environment's."""

    store: StorePlace
    """Where checkpoints go."""
    prefix: str
    max_response_length: int
    max_kl: float | None
    empty_advantage_steps: int | None
    bad_share: float
    """These four as in the spec."""


@dataclass(frozen=True)
class GrpoJob:
    """One GRPO training."""

    science: GrpoScience
    place: GrpoPlace
    store: StorePlace
    """Where checkpoints go and come from."""
    prefix: str
    """Of the stage's output in the store."""
    model: Path
    """The policy to start from, and the reference policy: a Hugging Face folder."""
    rewards: str
    """JSON of the reward function's settings."""
    trackers: Trackers
    """Who else is told the figures of each step."""
    work: Path
    """The run's folder; on a disk that all machines see."""


@dataclass(frozen=True)
class GrpoOutcome:
    """What came of it."""

    prompts: int
    """Prompts to train on."""
    too_long: int
    """Prompts that were left out, having too many tokens."""
    steps: int
    resumed_from: int
    """Step of the checkpoint that the run went on from; 0 if it began anew."""
    agreement: float | None
    """Least correlation, over this try's steps, between the probabilities that vLLM gave the
    rollouts' tokens and the trainer's; close to 1 if both have the same weights. None without steps."""
    history: History
    model: Path


def train(job: GrpoJob, rows: Iterable[tuple[Prompt, bytes]]) -> GrpoOutcome:
    """Trains, from the newest checkpoint in the store if there is one.

    Args:
        job: what and where.
        rows: prompts and their encoded images.

    Raises:
        SpecError: sizes that do not fit each other, or a tracker that is not installed.
        StageError: too few prompts; verl failed, hung or lost a rollout, or the run has gone wrong.
    """
    paths = GrpoPaths(
        model=job.model,
        prompts=job.work / "prompts.parquet",
        rewards=job.work / "rewards.json",
        checkpoints=job.work / CHECKPOINTS,
        rollouts=job.work / ROLLOUTS,
    )
    _overrides(job, paths, _environment(job, job.work))
    written = write_prompts(
        rows, paths.prompts, length=PromptLength(job.model), max_tokens=job.science.max_prompt_length
    )
    steps = _steps(job.science, written.kept, written.too_long, written.longest)
    paths.rewards.write_text(job.rewards, encoding="utf-8")
    settings = StepSettings(
        store=job.store,
        prefix=job.prefix,
        max_response_length=job.science.max_response_length,
        max_kl=job.place.max_kl,
        empty_advantage_steps=job.place.empty_advantage_steps,
        bad_share=job.science.bad_share,
    )
    (job.work / STEP_SETTINGS).write_text(settings.model_dump_json(), encoding="utf-8")
    resumed = _resume(job, paths.checkpoints)
    agreement = _run_verl(job, paths, steps) if resumed < steps else None
    newest = paths.checkpoints / f"global_step_{steps}"
    if not newest.is_dir():
        raise StageError(
            f"verl ended well, but there is no checkpoint of its last step, {steps}",
            where=str(job.work / LOG),
        )
    _check_rewards_taken(job.work)
    merge(newest / "actor", job.model, job.work / MODEL, job.place)
    return GrpoOutcome(
        prompts=written.kept,
        too_long=written.too_long,
        steps=steps,
        resumed_from=resumed,
        agreement=agreement,
        history=History.read(newest / HISTORY),
        model=job.work / MODEL,
    )


def _steps(science: GrpoScience, prompts: int, too_long: int, longest: int) -> int:
    if prompts >= science.batch_size:
        # verl leaves out the rest of an epoch that is no whole batch.
        return prompts // science.batch_size * science.epochs
    told = f"; {too_long} more are longer than {science.max_prompt_length} tokens" if too_long else ""
    raise StageError(
        f"There are {prompts} GRPO prompts, which is no batch of {science.batch_size}{told}",
        where="science.grpo.batch_size",
        hint=f"raise science.grpo.max_prompt_length (the longest prompt has {longest} tokens)"
        if too_long
        else f"set science.grpo.batch_size (and mini_batch_size) to {prompts} or less, or bring more data",
    )


def _resume(job: GrpoJob, folder: Path) -> int:
    """Puts the newest checkpoint where verl looks for it; its step, or 0."""
    fetched = folder / "fetched"
    step = checkpoints.latest(open_store(job.store), job.prefix, fetched)
    if step is None:
        return 0
    shards = json.loads((fetched / "actor" / "fsdp_config.json").read_bytes())["world_size"]
    if shards != job.place.world:
        raise StageError(
            f"The checkpoint of step {step} was written by {shards} processes; verl cannot go on with "
            f"{job.place.world}",
            where="placement.grpo.processes",
            hint=f"set it to {shards} in all, or delete {job.prefix}/checkpoints in the store to begin anew",
        )
    fetched.rename(folder / f"global_step_{step}")
    (folder / "latest_checkpointed_iteration.txt").write_text(str(step), encoding="utf-8")
    shutil.copytree(folder / f"global_step_{step}" / HISTORY, job.work / HISTORY)
    emit(STAGE, "note", text=f"goes on from the checkpoint of step {step}")
    return step


def _run_verl(job: GrpoJob, paths: GrpoPaths, steps: int) -> float | None:
    log = job.work / LOG
    watch = Watch(
        Progress(STAGE, steps, "steps"),
        failure=job.work / FAILURE,
        stall_s=job.place.stall_s,
        log=log,
    )
    with _alone(), short_folder() as short:
        variables = _environment(job, short)
        code = run_child(
            [sys.executable, "-m", "verl.trainer.main_ppo", *as_arguments(_overrides(job, paths, variables))],
            env={**os.environ, **variables},
            cwd=job.work,
            log=log,
            on_line=watch,
            stall_s=job.place.stall_s,
        )
    if code != 0:
        raise explain(code, log, job.work / FAILURE)
    return watch.agreement


def _environment(job: GrpoJob, temporary: Path) -> dict[str, str]:
    return environment(
        job.place,
        job.work / "cache",
        temporary,
        train_vision=job.science.train_vision,
        trackers=job.trackers,
        ray=os.environ.get("RAY_ADDRESS", OWN_RAY),
    )


def _overrides(job: GrpoJob, paths: GrpoPaths, variables: Mapping[str, str]) -> Overrides:
    return verl_overrides(job.science, job.place, paths, job.trackers, joins=for_joined_ray(variables))


@contextmanager
def _alone() -> Iterator[None]:
    """One verl at a time: it names its sockets by a number that is the same in every Ray."""
    with Path(tempfile.gettempdir(), f"fundus-r1-grpo-{os.getuid()}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            emit(STAGE, "note", text="waits for another GRPO training on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_rewards_taken(work: Path) -> None:
    """Each reward that verl trained on is the one that was computed for that rollout."""
    for step, taken in rewards_taken(work / ROLLOUTS):
        given = {line["uid"]: line["score"] for line in Journal(work / JOURNAL).step(step)}
        wrong = taken.keys() ^ given.keys() or {
            uid for uid in taken if not math.isclose(taken[uid], given[uid], abs_tol=_EQUAL)
        }
        if wrong:
            uid = min(wrong)
            raise StageError(
                f"verl trained on a reward of {taken.get(uid)} where {given.get(uid)} was computed",
                where=f"step {step}, rollout {uid}",
                hint="this version of verl does not take rewards as the pinned one does",
            )
