"""What a run takes before it runs: requests, tokens, GPU-hours, bytes and dollars, stage by stage.

`quantities` reads how much there is to do, `cost` multiplies. Nothing here is measured; what is
assumed stands in `placement.cost`.
"""

from __future__ import annotations

from fundus_r1.stages.cost.estimate import cost
from fundus_r1.stages.cost.known import Told, quantities
from fundus_r1.stages.cost.limits import too_long
from fundus_r1.stages.cost.rows import Asked, Quantities, Size, StageCost

__all__ = ["Asked", "Quantities", "Size", "StageCost", "Told", "cost", "quantities", "too_long"]
