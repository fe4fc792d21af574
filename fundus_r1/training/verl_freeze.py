"""Keeps the vision tower and its projector as they are (``science.grpo.train_vision: false``).

verl 0.9.1 lists ``actor.freeze_vision_tower`` in its schema, and its FSDP engine does not look at it: the
tower would learn all the same. Here its weights take no gradient, so no optimiser step and no weight
decay reaches them. verl loads this module in each of its processes (``VERL_USE_EXTERNAL_MODULES``), in
those runs alone that freeze.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine


def _frozen(build: Callable[[FSDPEngine], torch.nn.Module]) -> Callable[[FSDPEngine], torch.nn.Module]:
    def built(engine: FSDPEngine) -> torch.nn.Module:
        module = build(engine)
        module.model.visual.requires_grad_(False)
        return module

    return built


FSDPEngine._build_module = _frozen(FSDPEngine._build_module)
