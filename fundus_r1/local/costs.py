"""What a run in a folder would take: reaches the run's store, and lets `stages.cost` do the sums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fundus_r1.local.run import open_place, prepare_folder
from fundus_r1.spec import AssumedValue, RunSpec, assumed_values
from fundus_r1.stages.cost import StageCost, Told, cost, quantities, too_long
from fundus_r1.stages.plan import plan
from fundus_r1.stages.resolve import resolve
from fundus_r1.storage import open_store


@dataclass(frozen=True)
class Estimate:
    """What a run would take, and what that was computed from."""

    stages: list[StageCost]
    told: list[Told]
    assumed: list[AssumedValue]
    warnings: list[str]


def cost_here(spec: RunSpec, out: Path) -> Estimate:
    """What the stages that are not in the store would take.

    Args:
        spec: the run.
        out: its folder.

    Raises:
        FundusError: the spec cannot be resolved, or its store does not answer.
    """
    prepare_folder(out, min_free_gib=0)
    with open_place(resolve(spec), out) as placed:
        store = open_store(placed.placement.store)
        records = {step.stage: step.record for step in plan(placed, store) if step.record is not None}
        known, told = quantities(placed, records, store)
    assumed = assumed_values(placed.placement.cost, "placement.cost")
    return Estimate(cost(placed, known), told, assumed, too_long(placed, known))
