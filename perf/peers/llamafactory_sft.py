"""LLaMA-Factory on the samples of ``perf/sft.py``."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path

from clock import Clock

# Imported for audio alone, of which there is none here; the index's build needs CUDA.
sys.modules["torchaudio"] = types.ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)

from llamafactory.train.tuner import run_exp  # noqa: E402

settings = json.loads(Path(sys.argv[1]).read_text())
out = Path(settings["out"])
rows = json.loads(Path(settings["samples"], "samples.json").read_text())
conversations = [
    {
        "messages": [
            {"role": "user", "content": f"<image>{row['prompt']}"},
            {"role": "assistant", "content": row["response"]},
        ],
        "images": [row["image"]],
    }
    for row in rows
]
(out / "perf.json").write_text(json.dumps(conversations))
described = {
    "perf": {
        "file_name": "perf.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        },
    }
}  # fmt: skip
(out / "dataset_info.json").write_text(json.dumps(described))
run_exp(
    {
        "model_name_or_path": settings["model"], "stage": "sft", "do_train": True, "finetuning_type": "full",
        "freeze_vision_tower": True, "freeze_multi_modal_projector": True, "template": "qwen2_vl",
        "dataset": "perf", "dataset_dir": str(out), "cutoff_len": 2048, "preprocessing_num_workers": 1,
        "output_dir": str(out / "trained"), "per_device_train_batch_size": settings["batch"],
        "gradient_accumulation_steps": 1, "num_train_epochs": 2, "learning_rate": 1e-4, "weight_decay": 0.01,
        "warmup_steps": 2, "lr_scheduler_type": "cosine", "optim": "adamw_torch_fused", "bf16": False,
        "flash_attn": "sdpa", "disable_gradient_checkpointing": True, "use_cpu": True, "save_strategy": "no",
        "logging_steps": 1, "report_to": "none", "disable_tqdm": True, "seed": 0, "plot_loss": False,
        "image_max_pixels": 224 * 224,
    },
    callbacks=[Clock(out)],
)  # fmt: skip
