"""What a run would do before it does it: ten fingerprints, hit or run, and why."""

from __future__ import annotations

from dataclasses import dataclass

from fundus_r1.fingerprint import SHORT
from fundus_r1.record import Record
from fundus_r1.spec import RunSpec
from fundus_r1.stages import STAGES, get_stage
from fundus_r1.stages.compare import Identity, identities, identity_of, told
from fundus_r1.stages.job import fingerprints
from fundus_r1.storage.output import all_records, find_record
from fundus_r1.storage.protocol import Store


@dataclass(frozen=True)
class Planned:
    """One stage of a plan."""

    stage: str
    summary: str
    fingerprint: str
    record: Record | None
    """Of the output in the store, None if the stage would run."""
    why: str
    """Why it would be taken or run, in words."""

    @property
    def short(self) -> str:
        return self.fingerprint[:SHORT]


def plan(spec: RunSpec, store: Store) -> list[Planned]:
    """The ten stages of a resolved run, in order."""
    known = fingerprints(spec.science)
    wanted = identities(spec.science)
    past = list(all_records(store, STAGES))
    planned = []
    for name in STAGES:
        stage = get_stage(name)
        record = find_record(store, name, known[name])
        if record is not None:
            made = record.finished.strftime("%Y-%m-%d %H:%M")
            why = f"in the store since {made} UTC"
        else:
            why = _why(wanted[name], [old for old in past if old.stage == name])
        planned.append(Planned(name, stage.summary, known[name], record, why))
    return planned


def _why(now: Identity, past: list[Record]) -> str:
    """What the nearest earlier output of the stage differs in."""
    if not past:
        return "no output yet"
    found = min(
        ((told(identity_of(old), now), -old.finished.timestamp()) for old in past),
        key=lambda pair: (len(pair[0]), pair[1]),
    )[0]
    return "; ".join(found)
