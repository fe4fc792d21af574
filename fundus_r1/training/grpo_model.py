"""From verl's checkpoint to a Hugging Face folder, and what has changed in it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from fundus_r1.errors import StageError
from fundus_r1.processes import run_child
from fundus_r1.spec.placement import GrpoPlace
from fundus_r1.training.grpo_environment import environment
from fundus_r1.training.grpo_watch import explain

_WEIGHTS = (".safetensors", ".bin", ".index.json")


def merge(shards: Path, start: Path, model: Path, place: GrpoPlace) -> None:
    """Makes a Hugging Face folder of the trainer's shards, with the processor of the model they came from.

    Args:
        shards: ``global_step_<N>/actor`` of verl's checkpoint.
        start: the model that training began with.
        model: the folder to make.
        place: where verl runs.

    Raises:
        StageError: verl's merger failed.
    """
    work = model.parent
    argv = ["-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    argv += ["--local_dir", str(shards), "--target_dir", str(model)]
    log = work / "merge.log"
    code = run_child(
        [sys.executable, *argv],
        env={**os.environ, **environment(place, work / "cache", work)},
        cwd=work,
        log=log,
    )
    if code != 0:
        raise explain(code, log)
    for path in start.iterdir():
        if path.is_file() and not path.name.endswith(_WEIGHTS) and not (model / path.name).exists():
            shutil.copyfile(path, model / path.name)


def changed_share(before: Path, after: Path) -> float:
    """Share of a model's tensors that differ between two folders, both of which must load.

    Args:
        before: a Hugging Face folder.
        after: another one of the same architecture.

    Raises:
        StageError: their weights have other names.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    AutoProcessor.from_pretrained(after)
    old, new = (
        AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
        for folder in (before, after)
    )
    if old.keys() != new.keys():
        raise StageError("The trained model has other weights than the model it came from", where=str(after))
    return sum(not torch.equal(old[name], new[name]) for name in old) / len(old)
