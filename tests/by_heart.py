"""A tiny student that has learnt by heart what it says to a few questions about images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_r1.models.tiny import build_tiny
from fundus_r1.models.weights import with_pixels
from fundus_r1.rows import Prompt
from fundus_r1.spec.models import TinyModel
from fundus_r1.spec.training import Pixels


def picture(number: int, side: int = 112) -> bytes:
    """A grey square; each number has its own grey."""
    sink = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 20 * number, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def learn_by_heart(
    folder: Path,
    student: TinyModel,
    said: Sequence[tuple[Prompt, bytes, str]],
    *,
    enough: float,
    pixels: Pixels | None = None,
) -> Path:
    """Makes the student; says so if it has not learnt.

    Args:
        folder: of the model; is made.
        student: its size.
        said: question, image and answer; of several answers to one question it gives each as often.
        enough: the loss, nats a token, at which it has learnt.
        pixels: limits of its images; the processor's own if not given.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    plain = build_tiny(folder if pixels is None else folder.with_name(f"{folder.name}-plain"), student)
    if pixels is not None:
        with_pixels(plain, pixels, folder)
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    model.model.visual.requires_grad_(False)
    asked = [_chat(processor, prompt) for prompt, _, _ in said]
    answers = [f"{answer}<|im_end|>" for _, _, answer in said]
    batch = processor(
        text=[a + b for a, b in zip(asked, answers, strict=True)],
        images=[Image.open(io.BytesIO(image)) for _, image, _ in said],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    lengths = batch["attention_mask"].sum(1).tolist()
    learnt = [len(processor.tokenizer(text).input_ids) for text in answers]
    labels = batch["input_ids"].clone()
    for number, (length, answer) in enumerate(zip(lengths, learnt, strict=True)):
        labels[number, : length - answer] = -100
        labels[number, length:] = -100
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    torch.manual_seed(0)
    for _ in range(300):
        loss = model(**batch, labels=labels).loss
        if loss.item() < enough:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 2 * enough, f"the student has not learnt its answers: loss {loss.item()}"
    for link in folder.glob("*.safetensors"):
        # Beside other limits of pixels, the weights are a link to those of the plain model.
        link.unlink()
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def _chat(processor: object, prompt: Prompt) -> str:
    content = [{"type": "image"}, {"type": "text", "text": prompt.prompt}]
    text: str = processor.apply_chat_template(  # type: ignore[attr-defined]
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return text


def probability(folder: Path, prompt: Prompt, image: bytes, answer: str) -> float:
    """Probability that the model of a folder gives exactly this answer, 0..1."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    said = f"{answer}<|im_end|>"
    batch = processor(
        text=[_chat(processor, prompt) + said], images=[Image.open(io.BytesIO(image))], return_tensors="pt"
    )
    tokens = len(processor.tokenizer(said).input_ids)
    with torch.no_grad():
        logits = model(**batch).logits[0, -tokens - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, batch["input_ids"][0, -tokens:, None]).sum().exp())
