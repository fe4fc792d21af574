"""How a pipeline step runs its stage. The bodies of the components call nothing else.

A step runs its stage in its own process, as the root of a process tree: what the stage starts
(torchrun, Ray, vLLM) ends with it, whichever way it ends. Where the placement says so, the step of a stage
that trains launches a job on the cluster instead (`stages.children`). A hit, a miss and a failure are told
in one line each.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fundus_r1 import processes
from fundus_r1.errors import FundusError, SpecError
from fundus_r1.progress import emit
from fundus_r1.record import Record
from fundus_r1.stages import execute
from fundus_r1.stages.children import is_child, run_child
from fundus_r1.stages.job import StageJob, job_from_records
from fundus_r1.storage.output import StageOutput


@contextmanager
def process_tree(stage: str) -> Iterator[None]:
    """Runs a step as the root of a process tree; a `FundusError` ends the process with its exit code."""
    processes.die_with_parent()
    processes.become_subreaper()
    try:
        yield
    except FundusError as error:
        emit(stage, "failed", error=str(error))
        print(f"{stage}: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except BaseException as error:
        emit(stage, "failed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        processes.end_descendants()


def _job(stage: str, science: str, placement: str, inputs: Sequence[str]) -> StageJob:
    records = [Record.model_validate_json(Path(path).read_bytes()) for path in inputs]
    return job_from_records(stage, science, placement, records)


def _make(job: StageJob, diagnosis: Path | None = None) -> StageOutput:
    if not is_child(job):
        return execute.run_job(job)
    # A step that is told to end loses its parent at once, and must still delete its job.
    processes.die_with_parent(signal.SIGTERM)
    return run_child(job, diagnosis=diagnosis)


def launch(
    stage: str,
    science: str,
    placement: str,
    inputs: Sequence[str],
    record: str,
    diagnosis: str | None = None,
) -> StageOutput:
    """Runs a stage as a pipeline step.

    Args:
        stage: the stage's name.
        science: JSON of the stage's slice.
        placement: JSON of the placement.
        inputs: paths of the record artifacts of the steps before it.
        record: path for the step's own record artifact.
        diagnosis: path for the Markdown that says why a job on the cluster failed.

    Raises:
        SystemExit: the stage failed; 75 if another try may help, else 1.
    """
    with process_tree(stage):
        done = _make(_job(stage, science, placement, inputs), Path(diagnosis) if diagnosis else None)
        Path(record).write_text(done.record.model_dump_json(indent=1), encoding="utf-8")
        return done


def launch_planner(stage: str, science: str, placement: str, inputs: Sequence[str]) -> list[int]:
    """Numbers of the workers that a fanned-out stage needs: none if nothing is missing."""
    with process_tree(stage):
        job = _job(stage, science, placement, inputs)
        missing = execute.missing_parts(job)
        return list(range(min(len(missing), job.placement.findings.workers)))


def launch_worker(stage: str, science: str, placement: str, inputs: Sequence[str], worker: int) -> None:
    """Runs one worker of a fanned-out stage."""
    with process_tree(stage):
        execute.work(_job(stage, science, placement, inputs), worker)


def run_stage(job: StageJob, *, phase: str, worker: int) -> None:
    """Runs a stage, or one phase of a stage that is spread out, from the command line.

    Args:
        job: what to run.
        phase: ``run``; ``plan`` prints the missing parts; ``work`` runs as one worker.
        worker: number of the worker.
    """
    with process_tree(job.stage):
        if phase == "plan":
            print(*execute.missing_parts(job))
        elif phase == "work":
            execute.work(job, worker)
        elif phase == "run":
            print(f"{job.stage}/{_make(job).record.fingerprint}")
        else:
            raise SpecError(f"There is no phase {phase!r}", hint="the phases are run, plan and work")
