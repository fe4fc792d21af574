"""Supervised fine-tuning of the student (paper, Sec. 3.4 and 4.1), in every process of a group.

transformers' Trainer: AdamW with weight decay on matrices alone, gradients clipped, a learning rate
that rises over the first share of the steps and then falls by a cosine, weights in fp32 and
(``bf16``) computation in bfloat16. An optimiser step sees the same `batch_size` conversations however
many processes share them, and the loss is the mean over their learnt tokens. The paper used
LLaMA-Factory, which wraps this same Trainer but pins transformers to versions that verl and vLLM do
not take.

To Trainer the whole run is one epoch of micro batches that are laid out beforehand (`sft_data`).
Its own epochs would not do: accelerate 1.15 forgets the epoch, and with it the order, when a
group of several processes goes on from a checkpoint within it.

A run that is killed goes on from its last checkpoint: weights, optimiser, schedule, each process's
random state, the log and the place in the order of the conversations are restored. With the same number
of processes on a CPU the end is the same, bit for bit, as without the interruption; with another number
the steps are still the same, to rounding.

``python -m fundus_r1.training.sft job.json``, under torchrun or alone; under Ray Train, `main`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from pathlib import Path

import torch
from torch import distributed
from transformers import AutoConfig, PrinterCallback, TrainingArguments
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging

from fundus_r1.errors import StageError
from fundus_r1.processes import die_with_parent
from fundus_r1.rows import Split
from fundus_r1.storage import open_store
from fundus_r1.training import trackers, zero
from fundus_r1.training.collator import Collator
from fundus_r1.training.encoder import Encoder, Example
from fundus_r1.training.process_group import local_rank, node, rank, reporting, world_size
from fundus_r1.training.sft_data import MicroBatchData, micro_batches
from fundus_r1.training.sft_files import unpacked
from fundus_r1.training.sft_job import SftJob, write_log
from fundus_r1.training.sft_trainer import SftTrainer
from fundus_r1.training.sft_watch import SftWatch
from fundus_r1.training.student import load_student, merged, rope_index
from fundus_r1.training.uploads import Uploads

# While one process uploads a checkpoint of a large model, the others wait for it this long.
_PATIENCE_S = 7200
_LOADERS_PER_GPU = 4
_COPIED = (".json", ".txt", ".jinja", ".model")


def _arguments(job: SftJob, steps: int, accumulated: int) -> TrainingArguments:
    science, place = job.science, job.place
    gpu = torch.cuda.is_available()
    if not gpu:
        # accelerate 1.15 names the CPU of a process group cpu:0, which torch.load does not know.
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        os.environ["DS_ACCELERATOR"] = "cpu"
    config = zero.zero_config(place, science, universal=job.universal)
    arguments = TrainingArguments(
        output_dir=str(job.work / "checkpoints"),
        num_train_epochs=1,
        # Of micro batches, which come ready-made.
        per_device_train_batch_size=1,
        # One by one, so that the evaluation is the mean over conversations on any number of processes.
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=accumulated,
        optim="adamw_torch_fused",
        learning_rate=science.learning_rate,
        weight_decay=science.weight_decay,
        max_grad_norm=science.max_grad_norm,
        lr_scheduler_type="cosine",
        warmup_steps=math.floor(science.warmup_share * steps),
        bf16=science.precision == "bf16",
        gradient_checkpointing=place.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if place.gradient_checkpointing else None,
        deepspeed=config,
        dataloader_num_workers=_LOADERS_PER_GPU if gpu else 0,
        seed=science.seed,
        use_cpu=not gpu,
        ddp_backend=None if world_size() == 1 else "nccl" if gpu else "gloo",
        ddp_find_unused_parameters=False,
        ddp_timeout=_PATIENCE_S,
        save_strategy="steps",
        save_steps=place.save_steps,
        save_total_limit=1,
        train_sampling_strategy="sequential",
        logging_steps=1,
        logging_nan_inf_filter=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=trackers.reports(job.trackers),
    )
    if config is not None and not gpu:
        zero.join_on_cpu()
    return arguments


def train(job: SftJob) -> None:
    """Trains as one process of the group; the first leaves model, log and outcome in the job's folder.

    Raises:
        SpecError: a step cannot be shared by the group, or a tracker is not installed.
        ModelError: the model's files do not belong together, or the loss is no number or grows.
        StageError: the machines of the group would begin at different steps.
        StoreError: a checkpoint could not be uploaded.
    """
    science, place, source = job.science, job.place, Path(job.model)
    os.environ.update(trackers.environment(job.trackers))
    collator = Collator(Encoder.of(source), rope_index(source))
    stored, kept = unpacked(job.work, Split.TRAIN), unpacked(job.work, Split.VALIDATION)
    laid_out = micro_batches(
        [one.length for one in stored],
        science,
        processes=world_size(),
        micro_batch_size=place.micro_batch_size,
        pack_tokens=place.pack_tokens,
    )
    _check(collator, [stored[number].example() for number in laid_out.batches[0]])
    steps = len(laid_out.batches) // (laid_out.accumulation * world_size())
    collate = collator if place.pack_tokens is None else collator.packed
    validation = MicroBatchData(kept, [[number] for number in range(len(kept))], collator)
    # Before the model is read: with ZeRO-3 transformers then shares it out as it comes.
    arguments = _arguments(job, steps, laid_out.accumulation)
    _agree(job)
    trainer = SftTrainer(
        precision=science.precision,
        model=load_student(source, science),
        args=arguments,
        train_dataset=MicroBatchData(stored, laid_out.batches, collate),
        eval_dataset=validation if kept else None,
        callbacks=[
            SftWatch(steps, steps // science.epochs if kept else None, place.divergence, _uploads(job))
        ],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=job.resume)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if rank() == 0:
        _write_model(weights, job)
        write_log(job, trainer.state.log_history, len(stored), len(kept))


def _check(collator: Collator, first: list[Example]) -> None:
    """Proves on the first micro batch that the model is taught what is meant, and shows it."""
    shown = collator.verify(first)
    if rank() == 0:
        print(f"The first conversation; the loss is on what stands in ⟦ ⟧:\n{shown}", flush=True)


def _agree(job: SftJob) -> None:
    """Each machine has looked for the newest checkpoint by itself."""
    if not distributed.is_initialized():
        return
    begins: list[int | None] = [None] * world_size()
    state = Path(job.resume, TRAINER_STATE_NAME) if job.resume is not None else None
    begin = 0 if state is None else json.loads(state.read_bytes())["global_step"]
    distributed.all_gather_object(begins, begin)
    if len(set(begins)) > 1:
        raise StageError(
            f"The processes would begin at different steps: {', '.join(map(str, begins))}",
            hint="the machines looked for the newest checkpoint at different times; start all of them again",
            transient=True,
        )


def _uploads(job: SftJob) -> Uploads | None:
    """Of one process of each machine."""
    if local_rank() != 0:
        return None
    machines = world_size() // int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
    folder = job.work / "uploads"
    return Uploads(open_store(job.store), job.prefix, folder, node=node(), nodes=machines)


def _write_model(weights: dict[str, torch.Tensor], job: SftJob) -> None:
    """The trained model's folder: its weights, and all else as the student had it."""
    source = Path(job.model)
    unset_hf_deepspeed_config()
    trained = load_student(source, job.science)
    trained.load_state_dict(weights)
    model = merged(trained)
    # What `load_student` set for training is not the model's.
    model.config = AutoConfig.from_pretrained(source)
    model.to(torch.bfloat16 if job.science.precision == "bf16" else torch.float32)
    model.save_pretrained(job.trained)
    for path in sorted(source.iterdir()):
        target = job.trained / path.name
        is_index = path.name.endswith(".safetensors.index.json")
        if path.suffix in _COPIED and not is_index and not target.exists():
            shutil.copyfile(path, target)


def main(path: Path) -> None:
    """A process's life."""
    logging.disable_progress_bar()
    job = SftJob.model_validate_json(path.read_bytes())
    with reporting(job.work):
        train(job)


if __name__ == "__main__":
    die_with_parent()
    main(Path(sys.argv[1]))
    if distributed.is_initialized():
        distributed.destroy_process_group()
