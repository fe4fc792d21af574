"""The student as SFT trains it (paper, Sec. 4.1): which of its weights learn, and by what.

The language model learns, by its own weights or by low-rank adapters in their place; the vision tower and
the projector each learn only if the spec says so. Weights are in fp32, whatever they were stored in;
the trainer computes in bf16 where it is to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MethodType

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.utils import is_flash_attn_2_available

from fundus_r1.spec.training import Lora, SftScience
from fundus_r1.training import attention
from fundus_r1.training.patch_embedding import as_product


def load_student(folder: Path, science: SftScience) -> nn.Module:
    """The student with the weights of a folder, ready to be trained.

    Under ZeRO-3 the caller makes its ``TrainingArguments`` (with ``deepspeed``) first and keeps them:
    transformers then shares out each weight as it is read, and no process holds the whole model.

    Args:
        folder: of a model in the Hugging Face layout.
        science: what learns; precision; the seed of the adapters.

    Returns:
        The model, or, with adapters, a ``PeftModel`` around it.
    """
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=_attention(science)
    )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    model.config.get_text_config().use_cache = False
    inner = model.model
    first_layer = inner.visual.patch_embed.proj
    first_layer.forward = MethodType(as_product(type(first_layer).forward), first_layer)
    trained: nn.Module = model if science.lora is None else _adapted(model, science.lora, science.seed)
    inner.visual.requires_grad_(science.train_vision)
    inner.visual.merger.requires_grad_(science.train_projector)
    return trained


def merged(model: nn.Module) -> nn.Module:
    """The plain model that a trained one amounts to: adapters, if it has any, are merged into its weights.

    The given model is used up. Under ZeRO-3 its weights must be whole while this runs
    (``deepspeed.zero.GatheredParameters``, to be modified on the first process).
    """
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    plain: nn.Module = model.merge_and_unload()
    return plain


def rope_index(folder: Path) -> Callable[..., tuple[Tensor, Tensor]]:
    """A model's own ``get_rope_index``: the rotary positions of its tokens. No weights are read.

    To be called before there are ``TrainingArguments`` with ZeRO-3, which would share them out.
    """
    with torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
    positions: Callable[..., tuple[Tensor, Tensor]] = skeleton.model.get_rope_index
    return positions


def _attention(science: SftScience) -> str:
    # FlashAttention knows no fp32.
    if torch.cuda.is_available() and science.precision == "bf16" and is_flash_attn_2_available():
        return "flash_attention_2"
    attention.register()
    return attention.CONVERSATIONS


def _adapted(model: nn.Module, lora: Lora, seed: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    # The vision tower has matrices of the same names.
    targets = rf".*language_model\..*\.({'|'.join(lora.targets)})"
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=targets)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted: nn.Module = get_peft_model(model, config)
    return adapted
