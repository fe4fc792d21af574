"""The tiny model: a Qwen2.5-VL of a few million parameters, made from a seed.

It has learnt nothing. It has the published model's architecture, special tokens, chat template
and file layout, so that the processor, the Trainer, vLLM and verl load its folder like any
other, and a whole run can be tried on a machine without a GPU. The same `TinyModel` makes the
same bytes: the tokenizer is trained on a text of fixed content (``tiny_corpus.txt``), and each
tensor is drawn by NumPy from the seed and the tensor's name.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fundus_r1.fingerprint import fingerprint, sha256
from fundus_r1.spec.models import TinyModel

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLProcessor, Qwen2Tokenizer

REVISION = 1
"""Raised by hand when the same `TinyModel` makes another model."""

HEAD = 32
"""Dimensions of a head; vLLM's CPU attention fails with fewer."""
VISION_WIDTH = 192
PATCH = 14
MERGE = 2
IMAGE_SIDE = 224
"""An image of this side has 64 tokens; larger images are scaled down to about as many."""
VOCABULARY = 1024
"""Tokens in all; all 256 bytes are among them, so any text can be written."""
CONTEXT = 8192

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
"""Those of Qwen2.5-VL's chats and images, in its order."""

CHAT_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' or 'video' in part -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""Renders what Qwen2.5-VL's own template renders (without numbered pictures)."""

MODEL_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
tags: [random-weights, testing]
---
# A tiny Qwen2.5-VL that has learnt nothing

Random weights from the seed {seed}, {parameters:,} parameters. What it says about an image means
nothing. It exists so that the pipeline of Fundus-R1 can be run, and tested, without a GPU.
It must not be used on patients' images for any other purpose than testing software.
"""


def corpus() -> str:
    """The text on which the tokenizer is trained."""
    return files(__package__).joinpath("tiny_corpus.txt").read_text(encoding="utf-8")


def tiny_fingerprint(model: TinyModel) -> str:
    """What the built folder depends on, as one hash."""
    return fingerprint(
        {"model": model, "revision": REVISION, "corpus": sha256(corpus().encode()), "chat": CHAT_TEMPLATE}
    )


def _tokenizer() -> Qwen2Tokenizer:
    from tokenizers import AddedToken, Tokenizer, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import Qwen2Tokenizer

    untrained = Qwen2Tokenizer().backend_tokenizer
    learner = Tokenizer(BPE())
    learner.normalizer, learner.pre_tokenizer = untrained.normalizer, untrained.pre_tokenizer
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(corpus().splitlines(keepends=True), trainer)
    learnt = json.loads(learner.to_str())["model"]
    vocabulary = [*sorted(learnt["vocab"], key=learnt["vocab"].__getitem__), *SPECIAL_TOKENS]
    tokenizer = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(vocabulary)},
        merges=[tuple(pair) for pair in learnt["merges"]],
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=CONTEXT,
    )
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    tokenizer.add_tokens(special, special_tokens=True)
    return tokenizer


def _processor() -> Qwen2_5_VLProcessor:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    pixels = {"shortest_edge": (IMAGE_SIDE // 2) ** 2, "longest_edge": IMAGE_SIDE**2}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(pixels)),
        tokenizer=_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(size=dict(pixels)),
        chat_template=CHAT_TEMPLATE,
    )


def _config(model: TinyModel, token_id: dict[str, int]) -> Qwen2_5_VLConfig:
    from transformers import Qwen2_5_VLConfig

    heads = model.hidden // HEAD
    turning = HEAD // 2  # rotary pairs, shared out among time, height and width
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": model.hidden,
        "intermediate_size": 3 * model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2 if heads % 2 == 0 else heads,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [turning // 4, 3 * turning // 8, 3 * turning // 8],
        },
        "bos_token_id": token_id["<|endoftext|>"],
        "eos_token_id": token_id["<|im_end|>"],
        "pad_token_id": token_id["<|endoftext|>"],
        "tie_word_embeddings": False,
    }
    vision = {
        "depth": model.layers,
        "hidden_size": VISION_WIDTH,
        "intermediate_size": 3 * VISION_WIDTH,
        "num_heads": VISION_WIDTH // HEAD,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "window_size": 112,
        "out_hidden_size": model.hidden,
        "fullatt_block_indexes": list(range(1, model.layers, 2)) or [0],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id["<|image_pad|>"],
        video_token_id=token_id["<|video_pad|>"],
        vision_start_token_id=token_id["<|vision_start|>"],
        vision_end_token_id=token_id["<|vision_end|>"],
        tie_word_embeddings=False,
        dtype="bfloat16",
    )


def _draw(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The values of one tensor.

    Unit gain (deviation 1/sqrt(inputs)) instead of the usual 0.02, which at these widths would
    shrink what comes from the image to nothing before it reaches a logit.
    """
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    stream = int(sha256(f"{seed}:{name}".encode())[:16], 16)
    values = np.random.default_rng(stream).standard_normal(shape, dtype=np.float32)
    inputs = 1 if "embed_tokens" in name else math.prod(shape[1:])
    return values / np.float32(math.sqrt(inputs))


def build_tiny(folder: Path, model: TinyModel) -> Path:
    """Writes the model's folder in the Hugging Face layout.

    Args:
        folder: made if it is not there; holds the model afterwards.
        model: seed and size.

    Returns:
        The folder.
    """
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    processor = _processor()
    token_id = {token: processor.tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    network = Qwen2_5_VLForConditionalGeneration(_config(model, token_id))
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            tensor.copy_(torch.from_numpy(_draw(name, tuple(tensor.shape), model.seed)))
    network.to(torch.bfloat16)
    ends = [token_id["<|im_end|>"], token_id["<|endoftext|>"]]
    network.generation_config = GenerationConfig(
        bos_token_id=token_id["<|endoftext|>"], pad_token_id=token_id["<|endoftext|>"], eos_token_id=ends
    )
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    network.save_pretrained(folder)
    card = MODEL_CARD.format(seed=model.seed, parameters=network.num_parameters())
    (folder / "README.md").write_text(card, encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)  # weights are written for their owner alone, but a cache may be shared
    return folder
