"""Follows verl's output: tells the progress, and finds out why a run ended.

verl logs a failed reward and trains on the rollouts that are left; it can also hang, still logging.
Both end the run here. Of a run that died, people see the first error in its log, which is the
cause; what follows are mostly processes that missed the one that failed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from fundus_r1.errors import StageError
from fundus_r1.progress import Progress, emit

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RAY = re.compile(r"^\([^()]* ?pid=\d+(?:, ip=[\d.]+)?\) ?(?:\([^()]* pid=\d+\) ?)?")
_STEP = re.compile(r"^step:(\d+) - (.*)")
_LOST_ROLLOUT = "Error in _run_prompt"
_ERROR = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception|Interrupt)(?:\(.*?\))?): (.+)")
_WRAPPER = re.compile(r"RayTaskError|RayActorError|ActorDiedError|ActorUnavailableError|CalledProcessError")
_KILLED = re.compile(r"SIGKILL|died unexpectedly|[Ww]orker unexpectedly exits")
_VICTIM = re.compile(r"^\s*class_name: (?:.*\.)?(\w+)$")
_TOLD_LINES = 12
# How far behind the news of a lost rollout its cause may stand.
_CAUSE_LINES, _CAUSE_S = 100, 5.0

AGREEMENT = "training/rollout_actor_probs_pearson_corr"
"""verl's figure for how well vLLM's probabilities of the rollouts' tokens fit the trainer's."""
_AGREED = 0.95


def bare(line: str) -> str:
    """A line of the log without colours and without Ray's name of the process."""
    return _RAY.sub("", _COLOUR.sub("", line))


def figures(line: str) -> tuple[int, dict[str, float]] | None:
    """(step, figures) of a line in which verl sums up a step; None for another line."""
    if (match := _STEP.match(bare(line))) is None:
        return None
    found = {}
    for item in match[2].split(" - "):
        name, _, value = item.rpartition(":")
        try:
            found[name] = float(value)
        except ValueError:
            continue
    return int(match[1]), found


class Watch:
    """Is given each line of verl's output.

    Args:
        progress: counts steps.
        failure: file in which the reward worker tells of a reward that it could not compute.
        stall_s: longest time without a step (or, before the first, without a line).
        log: named in errors.
    """

    def __init__(self, progress: Progress, *, failure: Path, stall_s: float, log: Path):
        self._progress = progress
        self._failure = failure
        self._stall_s = stall_s
        self._log = log
        self._stepped = False
        self._lost: list[str] | None = None
        self.agreement: float | None = None
        """Least `AGREEMENT` of a step so far."""
        self._moved = time.monotonic()

    def __call__(self, line: str) -> None:
        """Raises:
        StageError: a rollout was lost, or verl talks without getting on.
        """
        now = time.monotonic()
        if self._lost is not None or _LOST_ROLLOUT in line:
            self._look_for_cause(line, now)
            return
        step = figures(line)
        if step is not None:
            number, values = step
            self._progress.set(
                number,
                reward=values.get("critic/score/mean", float("nan")),
                response_length=values.get("response_length/mean", float("nan")),
            )
            self._stepped = True
            self._agree(number, values)
        if step is not None or not self._stepped:
            self._moved = now
        elif now - self._moved > self._stall_s:
            raise StageError(
                f"verl has made no step for {self._stall_s:g} s",
                where=str(self._log),
                hint="if a step can take longer, raise placement.grpo.stall_s; else a second try may help",
                transient=True,
            )

    def _agree(self, step: int, values: dict[str, float]) -> None:
        found = values.get(AGREEMENT)
        if found is None:
            return
        self.agreement = found if self.agreement is None else min(self.agreement, found)
        if found < _AGREED:
            emit(
                self._progress.stage,
                "note",
                text=f"step {step}: the rollouts' probabilities and the trainer's correlate by only "
                f"{found:.2f}; vLLM may not have the trainer's weights",
            )

    def _look_for_cause(self, line: str, now: float) -> None:
        """Ends the run as soon as the cause of the lost rollout is known, or does not come."""
        if self._failure.is_file():
            raise StageError(
                "A reward could not be computed, and GRPO must not go on without it:\n"
                + self._failure.read_text(encoding="utf-8"),
                where=str(self._log),
                hint="mend that and run again; training goes on from the last checkpoint",
                transient=True,
            )
        if self._lost is None:
            self._lost, self._moved = [], now
        self._lost.append(line)
        cause = first_error(self._lost)
        late = len(self._lost) > _CAUSE_LINES or now - self._moved > _CAUSE_S
        if late or (cause is not None and not _WRAPPER.search(cause)):
            raise StageError(
                "A rollout failed, and GRPO must not go on without it" + (f": {cause}" if cause else ""),
                where=str(self._log),
                hint="the log tells more; training goes on from the last checkpoint",
                transient=True,
            )


def first_error(lines: Sequence[str]) -> str | None:
    """The first error that a log tells of, such as ``RuntimeError: no memory``; None if there is none.

    Errors of Ray that only say that another process failed are passed over if there is another.
    """
    found = [match for line in lines if (match := _ERROR.match(bare(line).strip()))]
    causes = [match for match in found if not _WRAPPER.search(match[0])] or found
    return f"{causes[0][1]}: {causes[0][2]}" if causes else None


def explain(code: int, log: Path, failure: Path | None = None) -> StageError:
    """What to tell people of a run that ended with an exit code.

    Args:
        code: not 0.
        log: what the run said.
        failure: file in which it tells why it stopped by itself.
    """
    if failure is not None and failure.is_file():
        return StageError(
            f"GRPO was stopped:\n{failure.read_text(encoding='utf-8')}",
            where=str(log),
            hint="the figures of all steps are in the log; training goes on from the last checkpoint",
        )
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    cause = first_error(lines)
    # Without the lines in which a traceback only points.
    told = [text for line in lines if (text := bare(line)).strip(" ^~")]
    last = "\n".join(told[-_TOLD_LINES:])
    no_memory = code == 137 or any("OutOfMemory" in line for line in lines)
    killed = any(_KILLED.search(line) for line in lines)
    victim = next((match[1] for line in lines if (match := _VICTIM.match(bare(line)))), None)
    if killed and victim is not None:
        cause = f"its process {victim} was killed"
    if no_memory:
        hint = "a process was killed, mostly because memory ran out: lower placement.grpo.micro_batch_size"
    elif killed:
        hint = "a process was killed from outside; training goes on from the last checkpoint"
    else:
        hint = "the log holds verl's own words; training goes on from the last checkpoint"
    return StageError(
        f"verl ended with exit code {code}" + (f": {cause}" if cause else ""),
        where=f"{log}; its last lines:\n{last}",
        hint=hint,
        transient=no_memory or killed,
    )
