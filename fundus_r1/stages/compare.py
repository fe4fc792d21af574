"""How two runs differ: field by field, and which stages do something else for it.

A stage is known by what its fingerprint hashes, its `Identity`: the slice of the science, the
revision, the prompts and the stages before it. A spec says that of all ten stages, a record of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fundus_r1.errors import SpecError
from fundus_r1.fingerprint import Change, changes
from fundus_r1.record import Record
from fundus_r1.spec import RunSpec, Science
from fundus_r1.spec.difference import Difference, differences
from fundus_r1.stages import STAGES, get_stage
from fundus_r1.stages.job import fingerprints, slices

Identity = dict[str, Any]
"""``science``, ``revision``, ``prompts`` and ``inputs`` of a stage's output."""


@dataclass(frozen=True)
class StageDifference:
    """A stage of which two runs have different outputs."""

    stage: str
    a: str
    """Fingerprint."""
    b: str
    why: str
    """The first field that differs, in words."""


@dataclass(frozen=True)
class Comparison:
    """All in which two runs differ; false if they do not."""

    fields: list[Difference]
    stages: list[StageDifference]

    def __bool__(self) -> bool:
        return bool(self.fields or self.stages)


def identities(science: Science) -> dict[str, Identity]:
    """Of all ten stages of a run."""
    cut, known = slices(science), fingerprints(science)
    found = {}
    for name in STAGES:
        stage = get_stage(name)
        found[name] = {
            "science": cut[name],
            "revision": stage.revision,
            "prompts": stage.prompt_hashes(),
            "inputs": {before: known[before] for before in stage.after},
        }
    return found


def identity_of(record: Record) -> Identity:
    """Of the output that a record is about."""
    return {
        "science": record.science,
        "revision": record.revision,
        "prompts": record.prompts,
        "inputs": record.inputs,
    }


def told(old: Identity, new: Identity) -> list[str]:
    """What differs between two outputs of a stage, in words: what it reads first, then what comes before."""
    return [_words(change) for change in sorted(changes(old, new), key=_is_input)]


def _is_input(change: Change) -> bool:
    return change.path.startswith("inputs.")


def _words(change: Change) -> str:
    part, _, name = change.path.partition(".")
    match part:
        case "inputs":
            return f"{name} is another"
        case "prompts":
            return f"the prompt {name} is another"
        case "revision":
            return f"the stage's {change}"
        case _:
            return str(change).removeprefix("science.")


def compare(a: RunSpec | Record, b: RunSpec | Record) -> Comparison:
    """How two runs differ, or two outputs of a stage, or a run's stage and an output.

    Raises:
        SpecError: the two are records of different stages.
    """
    if isinstance(a, RunSpec) and isinstance(b, RunSpec):
        return _runs(a, b)
    stages = {side.stage for side in (a, b) if isinstance(side, Record)}
    if len(stages) > 1:
        raise SpecError(
            f"The records are of different stages: {' and '.join(sorted(stages))}",
            hint="compare two records of one stage, or the specs of the runs",
        )
    [stage] = stages
    (first, one), (second, other) = _side(a, stage), _side(b, stage)
    fields = [
        Difference(f"{stage}.{change.path.removeprefix('science.')}", change.old, change.new, in_science=True)
        for change in changes(one, other)
    ]
    differ = [StageDifference(stage, first, second, told(one, other)[0])] if fields else []
    return Comparison(fields, differ)


def _side(side: RunSpec | Record, stage: str) -> tuple[str, Identity]:
    if isinstance(side, Record):
        return side.fingerprint, identity_of(side)
    return fingerprints(side.science)[stage], identities(side.science)[stage]


def _runs(a: RunSpec, b: RunSpec) -> Comparison:
    one, other = fingerprints(a.science), fingerprints(b.science)
    first, second = identities(a.science), identities(b.science)
    stages = [
        StageDifference(name, one[name], other[name], told(first[name], second[name])[0])
        for name in STAGES
        if one[name] != other[name]
    ]
    return Comparison(differences(a, b), stages)
