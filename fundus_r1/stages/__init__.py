"""The ten stages, in the order of the paper. Each module holds one `Stage` named ``STAGE``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fundus_r1.errors import StageError

if TYPE_CHECKING:
    from fundus_r1.stages.base import Stage

STAGES = (
    "index",
    "knowledge",
    "findings",
    "traces",
    "quality",
    "trainset",
    "sft",
    "grpo",
    "evaluate",
    "report",
)


def get_stage(name: str) -> Stage[Any]:
    """The stage of a name.

    Raises:
        StageError: there is none.
    """
    if name not in STAGES:
        raise StageError(f"There is no stage {name!r}", hint="the stages are " + ", ".join(STAGES))
    stage: Stage[Any] = importlib.import_module(f"fundus_r1.stages.{name}").STAGE
    return stage
