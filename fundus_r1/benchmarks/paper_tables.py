"""The paper's own figures (Tab. 5, 6, 7 and Sec. 3.2.3), as printed, in percent.

They are shown beside a run's figures and never mixed with them: they hold for the paper's data,
models and full benchmarks, so they are not comparable with a run on anything else.

The paper rounds each figure by itself, so the mean of a row's printed figures may differ from its
printed mean by up to 0.1. Within that, every mean of Tab. 5, 6 and 7 follows from its row or column.
"""

from __future__ import annotations

from dataclasses import dataclass

from fundus_r1.spec.setups import Setup

SAMPLES = 168_938
"""Samples of the training collection (Tab. 2)."""
TRACES = 146_425
"""Traces that were composed (Sec. 3.2.3)."""
ACCEPTED = 80_115
"""Traces that passed the quality check (Sec. 3.2.3)."""


@dataclass(frozen=True)
class SetupRow:
    """A row of Tab. 5: F1 for FunBench, accuracy for the others."""

    setup: Setup
    name: str
    average: float
    funbench: float
    omni_fundus: float
    gmai_fundus: float
    funbench_levels: dict[str, float]
    """L1 ... L4."""
    omni_fundus_tasks: dict[str, float]
    """MR, AI, LG, DD."""
    gmai_fundus_tasks: dict[str, float]
    """AR, NT, BVR, DD, SG."""
    table: int = 5


def _setup(setup: Setup, name: str, figures: str) -> SetupRow:
    values = [float(figure) for figure in figures.split()]
    average, funbench, omni, gmai = values[:4]
    return SetupRow(
        setup=setup,
        name=name,
        average=average,
        funbench=funbench,
        omni_fundus=omni,
        gmai_fundus=gmai,
        funbench_levels=dict(zip(("L1", "L2", "L3", "L4"), values[4:8], strict=True)),
        omni_fundus_tasks=dict(zip(("MR", "AI", "LG", "DD"), values[8:12], strict=True)),
        gmai_fundus_tasks=dict(zip(("AR", "NT", "BVR", "DD", "SG"), values[12:], strict=True)),
    )


# fmt: off
# Columns: Avg FunBench Omni GMAI | L1 L2 L3 L4 | MR AI LG DD | AR NT BVR DD SG
TABLE_5: tuple[SetupRow, ...] = (
    _setup("A", "Base (Qwen2.5-VL-3B)",
           "48.3 41.0 66.4 37.4 88.1 40.8 21.7 13.6 96.4 87.4 44.6 37.3 31.3 25.3 74.7 37.1 18.6"),
    _setup("B", "A + SFT",
           "53.8 58.9 71.1 31.4 69.3 95.8 20.4 50.0 94.2 91.9 51.7 46.4 24.7 16.0 65.3 33.4 17.6"),
    _setup("C", "A + GRPO",
           "55.5 53.9 68.1 44.6 76.8 71.5 27.2 40.2 92.4 92.8 36.2 50.9 38.7 27.3 85.3 32.0 39.7"),
    _setup("D", "A + SFT + GRPO",
           "52.5 53.1 71.3 33.0 88.4 57.7 30.5 35.7 95.4 93.8 43.4 52.7 28.0 19.3 37.3 43.3 37.1"),
    _setup("E", "A + SFT",
           "56.5 61.9 67.7 39.8 90.4 83.8 18.1 55.4 97.6 89.3 26.2 57.7 38.0 10.0 81.3 41.2 28.5"),
    _setup("F", "A + SFT + GRPO",
           "59.0 64.7 71.4 41.0 92.1 94.3 29.8 42.7 92.7 87.2 53.7 51.8 22.0 24.7 72.0 51.0 35.2"),
    _setup("G", "Fundus-R1-3B",
           "65.6 67.1 79.8 50.1 90.5 90.9 33.9 52.9 93.8 92.1 63.4 69.7 38.0 16.7 92.0 57.0 46.9"),
    _setup("H", "Using the VF item only",
           "60.3 63.2 75.6 42.1 91.0 89.7 30.7 41.6 93.2 91.7 54.5 63.0 31.3 14.0 69.3 51.5 44.2"),
    _setup("I", "Using the DK item only",
           "63.8 66.6 77.4 47.5 92.8 94.5 31.4 47.9 97.0 93.8 58.4 60.3 40.7 11.3 90.7 52.9 41.7"),
    _setup("J", "Summing the VF and DK items",
           "61.8 61.7 76.7 47.0 93.4 82.6 31.7 39.1 94.3 96.0 57.1 59.5 35.3 12.0 88.0 52.6 47.1"),
)
"""Setups A-D train without reasoning traces, E-J with."""
# fmt: on


@dataclass(frozen=True)
class FindingRow:
    """A row of Tab. 6, on Retinal-Lesions: findings of the paper's pipeline and of Qwen3-VL-Plus."""

    finding: str
    """Canonical key, or ``average``."""
    sensitivity: float
    specificity: float
    s2: float
    other_sensitivity: float
    other_specificity: float
    other_s2: float
    table: int = 6


TABLE_6: tuple[FindingRow, ...] = (
    FindingRow("microaneurysm", 78.3, 49.5, 60.7, 58.4, 23.3, 33.3),
    FindingRow("retinal_hemorrhage", 73.7, 44.4, 55.4, 45.5, 51.0, 48.1),
    FindingRow("hard_exudate", 78.7, 58.1, 66.9, 49.9, 65.8, 56.7),
    FindingRow("cotton_wool_spot", 48.2, 94.4, 63.8, 31.9, 85.3, 46.4),
    FindingRow("vitreous_hemorrhage", 62.5, 75.4, 68.3, 37.5, 81.0, 51.3),
    FindingRow("neovascularization", 55.8, 66.3, 60.6, 32.6, 72.2, 44.9),
    FindingRow("average", 66.2, 64.7, 62.6, 42.6, 63.1, 46.8),
)


@dataclass(frozen=True)
class ModelRow:
    """A row of Tab. 7."""

    model: str
    group: str
    samples: str
    """Training samples as printed; empty where the table has a dash."""
    funbench: float
    omni_fundus: float
    gmai_fundus: float
    average: float
    table: int = 7


_GENERIC = "Generic MLLMs"
_MEDICAL_SFT = "Medical MLLMs (SFT)"
_MEDICAL_RLVR = "Medical MLLMs (RLVR)"
_FUNDUS_SFT = "Fundus-reading MLLMs (SFT)"
_FUNDUS_RLVR = "Fundus-reading MLLMs (RLVR)"

TABLE_7: tuple[ModelRow, ...] = (
    ModelRow("Qwen2.5-VL-3B", _GENERIC, "", 41.0, 66.4, 37.4, 48.3),
    ModelRow("InternVL2.5-8B", _GENERIC, "", 51.0, 55.6, 48.2, 51.6),
    ModelRow("Qwen2.5-VL-7B", _GENERIC, "", 46.1, 68.1, 42.1, 52.1),
    ModelRow("HealthGPT-M3-7B", _MEDICAL_SFT, "1.6M", 52.4, 64.0, 46.3, 54.2),
    ModelRow("HuatuoGPT-Vision-7B", _MEDICAL_SFT, "1.3M", 59.0, 69.6, 47.3, 58.6),
    ModelRow("Lingshu-7B", _MEDICAL_SFT, "5.1M", 55.1, 97.7, 58.7, 70.5),
    ModelRow("MedVLM-R1", _MEDICAL_RLVR, "600", 46.2, 56.3, 37.1, 46.6),
    ModelRow("QoQ-Med-7B", _MEDICAL_RLVR, "2.6M", 62.5, 57.9, 32.8, 51.1),
    ModelRow("FundusExpert-8B", _FUNDUS_SFT, "200K", 48.3, 78.4, 71.1, 65.9),
    ModelRow("OphthaReason-Intern", _FUNDUS_RLVR, "121.5K", 44.9, 57.7, 44.1, 48.9),
    ModelRow("OphthaReason-Qwen", _FUNDUS_RLVR, "121.5K", 48.8, 62.4, 49.7, 53.6),
    ModelRow("Med-R1-fundus", _FUNDUS_RLVR, "undisclosed", 48.2, 79.2, 36.5, 54.7),
    ModelRow("Fundus-R1-3B", _FUNDUS_RLVR, "80.1K", 67.1, 79.8, 50.1, 65.6),
    ModelRow("Fundus-R1-7B", _FUNDUS_RLVR, "80.1K", 69.2, 91.1, 61.1, 73.8),
)
