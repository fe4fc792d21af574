"""Public datasets: one module each, from its official layout on disk to `Sample` rows."""

from __future__ import annotations

from fundus_r1.datasets import idrid, kermany, top
from fundus_r1.datasets.adapter import Adapter

ADAPTERS: dict[str, Adapter] = {module.ADAPTER.name: module.ADAPTER for module in (idrid, kermany, top)}
"""Name -> dataset, for all that `spec.science.Dataset` allows."""
