"""A stage's job: the slice of the spec, the placement and the outputs to read, as one JSON.

This is what travels to wherever the stage runs: a pipeline step, a torchrun process, a pod.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fundus_r1.errors import SpecError
from fundus_r1.record import Record
from fundus_r1.spec import Placement, RunSpec, Science
from fundus_r1.stages import STAGES, get_stage
from fundus_r1.stages.base import Stage, as_json


class StageJob(BaseModel):
    """All that a stage needs to run, but for credentials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    science: dict[str, Any]
    """The stage's slice."""
    placement: Placement
    inputs: dict[str, str]
    """Stage -> fingerprint of its output."""

    @property
    def definition(self) -> Stage[Any]:
        return get_stage(self.stage)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the output that the job makes."""
        stage = self.definition
        return stage.fingerprint(self.slice(), self.inputs)

    def slice(self) -> Any:
        """The stage's slice, parsed."""
        try:
            return self.definition.slice_type.model_validate(self.science)
        except ValidationError as error:
            raise SpecError(
                f"The slice of the spec for {self.stage} cannot be used: {error}", where=self.stage
            ) from error


def slices(science: Science) -> dict[str, dict[str, Any]]:
    """What each stage reads of the science, as JSON."""
    return {name: as_json(get_stage(name).select(science)) for name in STAGES}


def fingerprints(science: Science) -> dict[str, str]:
    """Fingerprints of all ten outputs, without running or reading anything."""
    found: dict[str, str] = {}
    for name in STAGES:
        stage = get_stage(name)
        found[name] = stage.fingerprint(stage.select(science), found)
    return found


def job_of(spec: RunSpec, stage: str) -> StageJob:
    """The job of one stage of a resolved run."""
    known = fingerprints(spec.science)
    return StageJob(
        stage=stage,
        science=slices(spec.science)[stage],
        placement=spec.placement,
        inputs={name: known[name] for name in get_stage(stage).after},
    )


def job_from_records(stage: str, science: str, placement: str, records: list[Record]) -> StageJob:
    """The job of a pipeline step.

    Args:
        stage: the stage's name.
        science: JSON of its slice.
        placement: JSON of the placement.
        records: records of the steps before it, at least those it reads.
    """
    by_stage = {record.stage: record.fingerprint for record in records}
    missing = [name for name in get_stage(stage).after if name not in by_stage]
    if missing:
        raise SpecError(
            f"The stage {stage} was given no record of {', '.join(missing)}",
            where=stage,
            hint="pass --inputs with the record.json of each stage before it",
        )
    return StageJob.model_validate(
        {
            "stage": stage,
            "science": _json(science, "science"),
            "placement": _json(placement, "placement"),
            "inputs": {name: by_stage[name] for name in get_stage(stage).after},
        }
    )


def load_job(text: str, place: str, stage: str, records: list[Record]) -> StageJob:
    """The job in a JSON text: a whole `StageJob`, or one without ``inputs`` beside records.

    Args:
        text: the JSON.
        place: where it was read.
        stage: the stage that it is to be of.
        records: of the stages before it.

    Raises:
        SpecError: it is no such job.
    """
    tree = _json(text, place)
    if not isinstance(tree, dict) or tree.get("stage") != stage:
        raise SpecError(f"The file holds no slice of the stage {stage}", where=place)
    if "inputs" in tree and not records:
        return StageJob.model_validate(tree)
    return job_from_records(
        stage, json.dumps(tree.get("science", {})), json.dumps(tree.get("placement", {})), records
    )


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError(f"The parameter {name} is no JSON: {error}", where=name) from error
