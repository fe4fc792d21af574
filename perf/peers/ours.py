"""Our training of the samples of ``perf/sft.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from clock import Clock

from fundus_r1.rows import Conversation, Split
from fundus_r1.spec.placement import SftPlace, StorePlace
from fundus_r1.spec.training import SftScience
from fundus_r1.training import sft
from fundus_r1.training.encoder import Encoder
from fundus_r1.training.sft_files import unpack
from fundus_r1.training.sft_job import SftJob

settings = json.loads(Path(sys.argv[1]).read_text())
out = Path(settings["out"])
rows = [
    (
        Conversation(
            triplet_id=str(number), sample_id=str(number), split=Split.TRAIN,
            prompt=row["prompt"], response=row["response"],
        ),
        Path(row["image"]).read_bytes(),
    )
    for number, row in enumerate(json.loads(Path(settings["samples"], "samples.json").read_text()))
]  # fmt: skip
model = Path(settings["model"])
unpack(rows, out, Encoder.of(model), 2048)
begin = sft.SftTrainer.train


def timed(self: sft.SftTrainer, **given: object) -> object:
    self.add_callback(Clock(out))
    return begin(self, **given)


sft.SftTrainer.train = timed
sft.train(
    SftJob(
        science=SftScience(
            epochs=2, batch_size=settings["batch"], learning_rate=1e-4, max_length=2048, precision="fp32"
        ),
        place=SftPlace(
            launcher="process", micro_batch_size=settings["batch"], gradient_checkpointing=False,
            pack_tokens=settings["pack"], save_steps=10_000, divergence=None,
        ),
        store=StorePlace(kind="folder", path=str(out / "store")),
        prefix="sft/perf",
        model=str(model),
        folder=str(out),
    )
)  # fmt: skip
