"""What a run would do before it does it: ten fingerprints, hit or run, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fundus_r1.fingerprint import SHORT, differences
from fundus_r1.record import Record
from fundus_r1.spec import RunSpec
from fundus_r1.stages import STAGES, get_stage
from fundus_r1.stages.job import fingerprints, slices
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
    cut = slices(spec.science)
    past = list(all_records(store, STAGES))
    planned = []
    for name in STAGES:
        stage = get_stage(name)
        record = find_record(store, name, known[name])
        if record is not None:
            made = record.finished.strftime("%Y-%m-%d %H:%M")
            why = f"in the store since {made} UTC"
        else:
            now = {
                "science": cut[name],
                "revision": stage.revision,
                "prompts": stage.prompt_hashes(),
                "inputs": {before: known[before] for before in stage.after},
            }
            why = _why(now, [old for old in past if old.stage == name])
        planned.append(Planned(name, stage.summary, known[name], record, why))
    return planned


def _why(now: dict[str, Any], past: list[Record]) -> str:
    """What the nearest earlier output of the stage differs in."""
    if not past:
        return "no output yet"
    found = min(
        (
            (
                differences(
                    {
                        "science": old.science,
                        "revision": old.revision,
                        "prompts": old.prompts,
                        "inputs": old.inputs,
                    },
                    now,
                ),
                -old.finished.timestamp(),
            )
            for old in past
        ),
        key=lambda pair: (len(pair[0]), pair[1]),
    )[0]
    told = []
    for line in found:
        if line.startswith("inputs."):
            told.append(f"{line.split(':')[0].removeprefix('inputs.')} is another")
        elif line.startswith("prompts."):
            told.append(f"the prompt {line.split(':')[0].removeprefix('prompts.')} is another")
        elif line.startswith("revision:"):
            told.append(f"the stage's {line}")
        else:
            told.append(line.removeprefix("science."))
    return "; ".join(told)
