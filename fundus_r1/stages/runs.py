"""A run's record, ``runs/<run id>.json`` in its store: what was started where, and how it ended.

It is written when the run's data and weights are known and closed by the exit handler. From it alone the
run can be started again (``fundus-r1 submit --like``) and compared with others. Like all that is
persisted, it holds names of secrets and no secret.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fundus_r1 import __version__
from fundus_r1.cluster.owners import POD_NAME
from fundus_r1.errors import SpecError
from fundus_r1.spec import Placement, RunSpec
from fundus_r1.spec.pins import by_digest, unpinned
from fundus_r1.stages.job import fingerprints
from fundus_r1.storage.protocol import Store

PREFIX = "runs/"
PIPELINE = "fundus-r1"
"""Name of the pipeline that a run belongs to, unless it says another."""


class PinnedRun(BaseModel):
    """What a compiled pipeline holds of its run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: RunSpec
    """As it was when the pipeline was compiled: its data may not be known yet."""
    pipeline: str = PIPELINE
    images: dict[str, str] = {}
    """Name in ``images/images.lock`` -> image, best by its digest."""

    def made_here(self, placement: Placement) -> PinnedRun:
        """What of it is used where this process runs: no image, on a machine without pods and cluster."""
        bare = placement.cluster is None and POD_NAME not in os.environ
        return self.model_copy(update={"images": {}}) if bare else self


class RunRecord(PinnedRun):
    """One run; its `spec` is resolved, with the placement that it was given."""

    schema_version: Literal[1] = 1
    run_id: str
    """Of Kubeflow Pipelines; of ``kfp.local`` where the run was made on one machine."""
    started: datetime.datetime
    ended: datetime.datetime | None = None
    """None while it runs, or if its exit handler never ran."""
    state: str | None = None
    """Kubeflow's word for how it ended: ``SUCCEEDED``, ``FAILED``, ``CANCELLED``."""
    error: str = ""
    fingerprints: dict[str, str] = {}
    """Stage -> fingerprint of its output; none where the run ended before its data were known."""
    unpinned: tuple[str, ...] = ()
    """Paths of the values of the science that were not pinned, and ``images.<name>`` of images without a
    digest: such a run may not be the same when it is made again."""
    program: str = f"fundus-r1 {__version__}"

    @property
    def setup(self) -> str:
        """The paper's setup, A to J (Tab. 5)."""
        return self.spec.science.setup


def begin_record(run: PinnedRun, spec: RunSpec, run_id: str, *, resolved: bool = True) -> RunRecord:
    """The record of a run that starts now.

    Args:
        run: what the compiled pipeline holds, as far as it is used.
        spec: the spec with the placement that the run was given.
        run_id: Kubeflow's id of it.
        resolved: whether the spec knows its data, so that the fingerprints are true.
    """
    science = spec.science
    return RunRecord(
        spec=spec,
        pipeline=run.pipeline,
        images=run.images,
        run_id=run_id,
        started=_now(),
        fingerprints=fingerprints(science) if resolved else {},
        unpinned=(*(pin.path for pin in unpinned(science)), *_by_tag(run.images)),
    )


def _by_tag(images: dict[str, str]) -> list[str]:
    return [f"images.{name}" for name, image in images.items() if not by_digest(image)]


def end_record(record: RunRecord, state: str, error: str) -> RunRecord:
    """The record of a run that has ended now."""
    return record.model_copy(update={"ended": _now(), "state": state, "error": error})


def run_key(run_id: str) -> str:
    """Where the record of a run lies in its store."""
    return f"{PREFIX}{run_id}.json"


def table_key(run_id: str) -> str:
    """Where the table of a run's preflight lies, as Markdown: Kubeflow keeps no artifact of a failed step."""
    return f"{PREFIX}{run_id}/preflight.md"


def write_run(store: Store, record: RunRecord) -> None:
    """Writes a run's record; one that is there is replaced."""
    store.put(run_key(record.run_id), record.model_dump_json(indent=1).encode())


def read_run(store: Store, run_id: str) -> RunRecord | None:
    """The record of a run, or None if the store has none.

    Raises:
        SpecError: it is none of this version.
    """
    key = run_key(run_id)
    data = store.get(key)
    return None if data is None else parse_run(data, f"{store.uri}/{key}")


def all_runs(store: Store) -> Iterator[RunRecord]:
    """The records of all runs in a store, in the order of their ids."""
    for key in store.list(PREFIX):
        run_id = key.removeprefix(PREFIX).removesuffix(".json")
        record = read_run(store, run_id) if key == run_key(run_id) else None
        if record is not None:
            yield record


def load_run(path: Path) -> RunRecord:
    """The record of a run in a file.

    Raises:
        SpecError: the file cannot be read, or holds no such record.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpecError(f"The run's record cannot be read: {error.strerror}", where=str(path)) from error
    return parse_run(data, str(path))


def parse_run(data: bytes, where: str) -> RunRecord:
    """A run's record from its JSON.

    Raises:
        SpecError: it is none, or of another version.
    """
    try:
        return RunRecord.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(
            f"This is no record of a run: {'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}",
            where=where,
            hint="give a file runs/<run id>.json of a store; records of stages are others",
        ) from error


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
