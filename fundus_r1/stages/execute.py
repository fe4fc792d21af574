"""Runs one stage's job: a hit if the store has the output, else the work, closed by its record."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

from fundus_r1.errors import StageError
from fundus_r1.fingerprint import SHORT
from fundus_r1.progress import emit
from fundus_r1.record import Record
from fundus_r1.stages.base import Context
from fundus_r1.stages.job import StageJob
from fundus_r1.storage import open_store
from fundus_r1.storage.output import OutputWriter, StageOutput, find_record
from fundus_r1.storage.protocol import Store

# How long a machine waits for another of its group to upload what they have made together.
_PATIENCE_S = 3600.0
_POLL_S = 1.0


def _open_inputs(job: StageJob, store: Store) -> dict[str, StageOutput]:
    found = {}
    for name, fingerprint in job.inputs.items():
        record = find_record(store, name, fingerprint)
        if record is None:
            raise StageError(
                f"The stage {job.stage} needs the output of {name}, which is not in the store",
                where=f"{store.uri}/{name}/{fingerprint}",
                hint=f"run the stage {name} with the same spec first",
            )
        found[name] = StageOutput(store, record, _scratch(job))
    return found


def _scratch(job: StageJob) -> Path | None:
    """The folder for large files on their way."""
    if job.placement.cache is None:
        return None
    folder = Path(job.placement.cache)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _context(job: StageJob, store: Store) -> Context[Any]:
    return Context(
        science=job.slice(),
        placement=job.placement,
        store=store,
        output=OutputWriter(store, job.stage, job.fingerprint, _scratch(job)),
        inputs=_open_inputs(job, store),
    )


def hit(job: StageJob, store: Store) -> StageOutput | None:
    """The job's output, if it is in the store already; says so."""
    record = find_record(store, job.stage, job.fingerprint)
    if record is None:
        return None
    emit(job.stage, "hit", fingerprint=record.short, made=record.finished.isoformat(timespec="seconds"))
    return StageOutput(store, record)


def run_job(job: StageJob) -> StageOutput:
    """Makes the job's output, or finds it in the store."""
    store = open_store(job.placement.store)
    if found := hit(job, store):
        return found
    stage = job.definition
    started = datetime.datetime.now(datetime.UTC)
    emit(job.stage, "start", fingerprint=job.fingerprint[:SHORT])
    context = _context(job, store)
    result = stage.run(context)
    if result is None:
        return StageOutput(store, _await_record(job, store), _scratch(job))
    record = context.output.close(
        revision=stage.revision,
        science=job.science,
        prompts=stage.prompt_hashes(),
        inputs=job.inputs,
        counts=result.counts,
        models=result.models,
        started=started,
    )
    emit(job.stage, "done", seconds=round(record.seconds, 1), counts=result.counts)
    return StageOutput(store, record)


def _await_record(job: StageJob, store: Store) -> Record:
    """The record that another machine of the same group writes."""
    deadline = time.monotonic() + _PATIENCE_S
    while (record := find_record(store, job.stage, job.fingerprint)) is None:
        if time.monotonic() > deadline:
            raise StageError(
                f"The machine that closes the output of {job.stage} has not done so for {_PATIENCE_S:g} s",
                where=f"{store.uri}/{job.stage}/{job.fingerprint}",
                hint="look at the log of the group's first machine",
                transient=True,
            )
        time.sleep(_POLL_S)
    return record


def missing_parts(job: StageJob) -> list[int]:
    """Parts of a fanned-out stage that are not there yet; none if the whole output is."""
    store = open_store(job.placement.store)
    if find_record(store, job.stage, job.fingerprint) is not None:
        return []
    return _fan_out(job).missing(_context(job, store))


def work(job: StageJob, worker: int) -> None:
    """Runs as one worker of a fanned-out stage until all its parts are there."""
    store = open_store(job.placement.store)
    if find_record(store, job.stage, job.fingerprint) is None:
        _fan_out(job).work(_context(job, store), worker)


def _fan_out(job: StageJob) -> Any:
    fan_out = job.definition.fan_out
    if fan_out is None:
        raise StageError(f"The stage {job.stage} is not spread over workers", hint="run it whole")
    return fan_out


def find_output(job: StageJob) -> Record | None:
    """The record of the job's output, if it is in the store."""
    return find_record(open_store(job.placement.store), job.stage, job.fingerprint)
