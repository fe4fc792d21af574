"""Finds what a person names as a run: the record of a run, that of an evaluation, the folder of a local run.

A record is named by its path or by its address in a store, ``s3://bucket/prefix/runs/<id>.json``. Its store
is the one it lies in; a copy elsewhere is looked up in the store that its placement names. Where a bucket
is and who may read it come from the environment, as for a stage: ``FUNDUS_R1_S3_ENDPOINT`` and the keys.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from fundus_r1.errors import FundusError, SpecError, StoreError
from fundus_r1.local.run import SPEC, open_place
from fundus_r1.record import Record
from fundus_r1.spec import load_spec
from fundus_r1.spec.placement import StorePlace
from fundus_r1.spec.places import S3, scheme_of
from fundus_r1.stages.address import open_prefix, read_address
from fundus_r1.stages.compare_runs import Run, run_of
from fundus_r1.stages.evaluate import STAGE as EVALUATE
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.runs import PREFIX, RunRecord, parse_run
from fundus_r1.storage import open_store
from fundus_r1.storage.protocol import Store


def find_run(place: str) -> Run:
    """A run with its scores, for comparison; one whose results are away says why.

    Raises:
        SpecError: the place names no run, or an output of another stage.
        StoreError: the address's own store cannot be read.
    """
    if scheme_of(place) != S3 and Path(place).is_dir():
        return _folder(Path(place))
    made = read_record(place)
    if isinstance(made, RunRecord):
        return _of_run(made, place)
    if made.stage != EVALUATE.name:
        raise SpecError(
            f"The record is of the stage {made.stage}; runs are compared by what they scored",
            where=place,
            hint="give the record of the run, or that of its stage evaluate",
        )
    store = _store_of(place, f"{made.prefix}/record.json")
    away = "" if store else "the record is a copy: give its address in its store, or the run's record"
    return run_of(f"evaluate {made.short}", made, store, made.fingerprint, away)


def load_record(place: str) -> RunRecord:
    """The record of a run, by path or address.

    Raises:
        SpecError: there is none, or it is none.
        StoreError: the store cannot be read.
    """
    return parse_run(_read(place), place)


def read_record(place: str) -> RunRecord | Record:
    """The record of a run or of a stage's output, by path or address.

    Raises:
        SpecError: there is none, or it is neither.
        StoreError: the store cannot be read.
    """
    data = _read(place)
    if not _is_stage(data):
        return parse_run(data, place)
    try:
        return Record.model_validate_json(data)
    except ValidationError as error:
        raise SpecError(
            f"The record is of another version: {error.errors()[0]['msg']}", where=place
        ) from error


def _folder(folder: Path) -> Run:
    spec = load_spec(folder / SPEC)
    label = f"{spec.name} ({folder})"
    wanted = fingerprints(spec.science)[EVALUATE.name]
    try:
        with open_place(spec, folder) as placed:
            return run_of(label, spec, open_store(placed.placement.store), wanted)
    except StoreError as error:
        return run_of(label, spec, None, None, error.what)


def _of_run(record: RunRecord, place: str) -> Run:
    label = f"{record.spec.name} ({record.run_id[:8]})"
    wanted = record.fingerprints.get(EVALUATE.name)
    if wanted is None:
        return run_of(label, record.spec, None, None, "it ended before its data were known")
    try:
        store = _store_of(place, f"{PREFIX}{record.run_id}.json") or open_store(record.spec.placement.store)
        return run_of(label, record.spec, store, wanted, _ending(record))
    except FundusError as error:
        return run_of(label, record.spec, None, None, error.what)


def _ending(record: RunRecord) -> str:
    """Why a run may have no scores."""
    if record.state is None:
        return "it has not ended"
    return f"it ended as {record.state}" + (f": {record.error}" if record.error else "")


def _is_stage(data: bytes) -> bool:
    """Whether a record is a stage's; a run's has no such field."""
    try:
        tree = json.loads(data)
    except ValueError:
        return False
    return isinstance(tree, dict) and "stage" in tree


def _read(place: str) -> bytes:
    if scheme_of(place) == S3:
        return read_address(place)
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise SpecError(f"The record cannot be read: {error.strerror}", where=place) from error


def _store_of(place: str, key: str) -> Store | None:
    """The store in which `place` is `key`; None if it lies in none."""
    root = place.removesuffix(f"/{key}")
    if root == place:
        return None
    if scheme_of(place) == S3:
        return open_prefix(root)
    if not Path(root, EVALUATE.name).is_dir():
        return None
    return open_store(StorePlace(kind="folder", path=str(Path(root).resolve())))
