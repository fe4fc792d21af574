"""Repeats an earlier run from its record: the same science in the same place, or nothing.

The record holds the fingerprint of each output. If the installed program would compute others, because a
stage's code or a prompt has changed since, it would be another run under the same name; so it is refused.
"""

from __future__ import annotations

from pathlib import Path

from fundus_r1.errors import SpecError, StoreError
from fundus_r1.fingerprint import SHORT
from fundus_r1.spec import Placement, RunSpec, with_placement
from fundus_r1.stages import STAGES
from fundus_r1.stages.compare import identities, identity_of, told
from fundus_r1.stages.job import fingerprints
from fundus_r1.stages.runs import RunRecord
from fundus_r1.storage import open_store
from fundus_r1.storage.output import find_record


def repeat(record: RunRecord, placement: Path | None = None) -> tuple[RunSpec, Placement]:
    """What repeats an earlier run: its spec, and its placement or where a file says otherwise.

    Args:
        record: of the run.
        placement: YAML with fields of the placement that win over the run's.

    Raises:
        SpecError: the installed program would compute something else; told is the first stage that
            differs and why, as far as it can be known.
    """
    now = fingerprints(record.spec.science)
    for stage in STAGES:
        before = record.fingerprints.get(stage, now[stage])
        if before != now[stage]:
            raise SpecError(
                f"The installed program would not repeat the run: its stage {stage} was {before[:SHORT]} and "
                f"would be {now[stage][:SHORT]} now{_why(record, stage)}",
                where=f"run {record.run_id}",
                hint=f"install {record.program}, which made the run; or submit its spec as another run",
            )
    spec = _without_image(record)
    return spec, (spec if placement is None else with_placement(spec, placement)).placement


def _without_image(record: RunRecord) -> RunSpec:
    """The spec without an image of its jobs that came from the lock: steps and jobs go by the same lock."""
    place = record.spec.placement
    if place.cluster is None or place.cluster.image not in record.images.values():
        return record.spec
    cluster = place.cluster.model_copy(update={"image": None})
    return record.spec.model_copy(update={"placement": place.model_copy(update={"cluster": cluster})})


def _why(record: RunRecord, stage: str) -> str:
    """What differs, where the run's store answers and has the stage's output."""
    place = record.spec.placement.store
    if not place.is_placed:
        return ""
    try:
        made = find_record(open_store(place), stage, record.fingerprints[stage])
    except (StoreError, SpecError):
        return ""
    if made is None:
        return ""
    found = told(identity_of(made), identities(record.spec.science)[stage])
    return f": {found[0]}" if found else ""
