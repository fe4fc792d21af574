"""TRL's `SFTTrainer` on the samples of ``perf/sft.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from clock import Clock
from datasets import Dataset, Features, Image, List, Value
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

settings = json.loads(Path(sys.argv[1]).read_text())
rows = json.loads(Path(settings["samples"], "samples.json").read_text())


def turns(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


turn = [{"role": Value("string"), "content": Value("string")}]
data = Dataset.from_list(
    [
        {
            "images": [row["image"]],
            "prompt": turns("user", row["prompt"]),
            "completion": turns("assistant", row["response"]),
        }
        for row in rows
    ],
    features=Features({"images": List(Image()), "prompt": turn, "completion": turn}),
)
model = AutoModelForImageTextToText.from_pretrained(
    settings["model"], dtype=torch.float32, attn_implementation="sdpa"
)
model.model.visual.requires_grad_(False)
trainer = SFTTrainer(
    model=model,
    args=SFTConfig(
        output_dir=settings["out"], per_device_train_batch_size=settings["batch"], num_train_epochs=2,
        learning_rate=1e-4, weight_decay=0.01, warmup_steps=2, lr_scheduler_type="cosine",
        optim="adamw_torch_fused", max_length=None, bf16=False, gradient_checkpointing=False, use_cpu=True,
        save_strategy="no", logging_steps=1, report_to=[], disable_tqdm=True, seed=0,
    ),
    train_dataset=data,
    processing_class=AutoProcessor.from_pretrained(settings["model"]),
    callbacks=[Clock(Path(settings["out"]))],
)  # fmt: skip
trainer.train()
