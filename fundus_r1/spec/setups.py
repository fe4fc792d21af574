"""The ten training setups of the paper's Tab. 5, and what each trains with."""

from __future__ import annotations

from typing import Literal

from fundus_r1.spec.base import Spec

Setup = Literal["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"]
ProcessMode = Literal["none", "vf", "dk", "selective", "sum"]


class Recipe(Spec):
    """What a training setup of Tab. 5 trains with."""

    sft: bool
    """Whether SFT runs."""
    traces: bool
    """Whether the training answers carry reasoning traces."""
    grpo: bool
    """Whether GRPO runs."""
    process: ProcessMode
    """Which process reward GRPO uses (Eq. 4 and its ablations)."""


SETUPS: dict[str, Recipe] = {
    "A": Recipe(sft=False, traces=False, grpo=False, process="none"),
    "B": Recipe(sft=True, traces=False, grpo=False, process="none"),
    "C": Recipe(sft=False, traces=False, grpo=True, process="none"),
    "D": Recipe(sft=True, traces=False, grpo=True, process="none"),
    "E": Recipe(sft=True, traces=True, grpo=False, process="none"),
    "F": Recipe(sft=True, traces=True, grpo=True, process="none"),
    "G": Recipe(sft=True, traces=True, grpo=True, process="selective"),
    "H": Recipe(sft=True, traces=True, grpo=True, process="vf"),
    "I": Recipe(sft=True, traces=True, grpo=True, process="dk"),
    "J": Recipe(sft=True, traces=True, grpo=True, process="sum"),
}
