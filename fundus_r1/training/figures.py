"""What a training step costs, and what of the device it uses: tokens, FLOPs, MFU, memory.

Model FLOPs utilisation (MFU; Chowdhery et al. 2022, appendix B) is the work that the model needs over the
work that the device could do in the same time. For each weight and token that is 2 FLOPs forward, 2 more
where the gradient goes on to what lies before, and 2 more where the weight itself is trained: the
well-known 6 N a token if all is trained. Counted apart are

* the language model's layers, at each token; its head only where there is a label, as it is computed;
* the vision tower at each patch, its merger at each image token;
* attention, which is 4 FLOPs forward for each pair of tokens and each of the heads' dimensions (half of the
  pairs in the causal language model; those of a window in most layers of the tower), and twice that backward.

What gradient checkpointing computes again is not counted.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H800 PCIe": 756e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "RTX A6000": 155e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""Part of a GPU's name -> dense bf16 FLOP/s with fp32 accumulation, as NVIDIA's data sheets of these products
(for GeForce: its white papers of the architectures GA102 and AD102) state them. The first match counts."""


def peak_flops(device: str, precision: str) -> float | None:
    """What a device could do, in FLOP/s; None where it is not known, as on a CPU.

    Args:
        device: its name as `torch.cuda.get_device_name` gives it.
        precision: ``bf16``; no other is in the table.
    """
    if precision != "bf16":
        return None
    return next((peak for name, peak in PEAKS.items() if name.lower() in device.lower()), None)


@dataclass(frozen=True)
class Work:
    """FLOPs of a training step of one Qwen2.5-VL, by what is in it."""

    token: float
    """Of each token, attention left out."""
    learnt: float
    """Of each token with a label: the head."""
    token_pair: float
    """Of each token of a conversation, times each."""
    patch: float
    """Of each patch of an image, attention to all patches left out."""
    patch_pair: float
    """Of each patch of an image, times each."""
    image_token: float
    """Of each image token: the merger."""
    merged: int
    """Patches of an image token."""

    def flops(self, lengths: Sequence[int], learnt: int, patches: Sequence[int]) -> float:
        """Of some conversations.

        Args:
            lengths: tokens of each.
            learnt: labels in all.
            patches: of each image.
        """
        text = (
            self.token * sum(lengths) + self.learnt * learnt + self.token_pair * sum(n * n for n in lengths)
        )
        seen = sum(patches)
        vision = self.patch * seen + self.patch_pair * sum(n * n for n in patches)
        return text + vision + self.image_token * seen / self.merged


def work_of(model: Any) -> Work:
    """What a step of a Qwen2.5-VL costs, by its configuration and by which of its weights are trained."""
    config = model.config
    text, vision = config.get_text_config(), config.vision_config
    layers = tower = merger = 0.0
    tower_learns = False
    for name, weight in model.named_parameters():
        # ZeRO-3 leaves a part of each weight in a process, and notes how large the whole is.
        cost = 2.0 * getattr(weight, "ds_numel", weight.numel())
        learns = weight.requires_grad
        if ".merger." in name:
            merger += cost * (1 + learns)
        elif ".visual." in name:
            tower_learns |= learns
            tower += cost * (1 + 2 * learns)
        elif "embed_tokens" not in name and "lm_head" not in name:
            layers += cost * (2 + learns)
    if tower_learns:
        merger *= 1.5
    width = text.num_attention_heads * getattr(text, "head_dim", text.hidden_size // text.num_attention_heads)
    whole, window = len(vision.fullatt_block_indexes), (vision.window_size // vision.patch_size) ** 2
    seen = 4 * vision.hidden_size * (3 if tower_learns else 1)
    return Work(
        token=layers,
        learnt=6.0 * text.vocab_size * text.hidden_size,
        token_pair=6.0 * text.num_hidden_layers * width,
        patch=tower + seen * (vision.depth - whole) * window,
        patch_pair=seen * whole,
        image_token=merger,
        merged=vision.spatial_merge_size**2,
    )


def peak_memory() -> int:
    """Bytes that this process had at most: of its GPU, or else of the machine."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name() -> str:
    """Of the GPU, or ``cpu``."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "cpu"
