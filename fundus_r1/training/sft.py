"""Supervised fine-tuning of the student (paper, Sec. 3.4 and 4.1), in every process of a group.

transformers' Trainer: AdamW with weight decay on matrices alone, gradients clipped at norm 1, a
learning rate that rises over the first share of the steps and then falls by a cosine, weights
in fp32 and (``bf16``) computation in bfloat16. An optimiser step sees the same `batch_size`
conversations however many processes share them, and the loss is the mean over their learnt
tokens. The paper used LLaMA-Factory, which wraps this same Trainer but pins transformers to
versions that verl and vLLM do not take.

To Trainer the whole run is one epoch, whose order (`sft_job.reading_order`) is laid out beforehand.
Its own epochs would not do: accelerate 1.15 forgets the epoch, and with it the order, when a
group of several processes goes on from a checkpoint within it.

A run that is killed goes on from its last checkpoint: weights, optimiser, schedule, each process's
random state and the place in the order of the conversations are restored. With the same number
of processes on a CPU the end is the same, bit for bit, as without the interruption.

``python -m fundus_r1.training.sft job.json``, under torchrun or alone.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import Dataset
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.utils import logging

from fundus_r1.errors import ModelError
from fundus_r1.processes import die_with_parent
from fundus_r1.progress import Progress
from fundus_r1.rows import Split
from fundus_r1.storage import open_store
from fundus_r1.training import checkpoints
from fundus_r1.training.collator import Collator, Example
from fundus_r1.training.process_group import rank, reporting, world_size
from fundus_r1.training.sft_job import SftJob, Stored, accumulation, reading_order, unpacked, write_log

# While one process uploads a checkpoint of a large model, the others wait for it this long.
_PATIENCE_S = 7200
_LOADERS_PER_GPU = 4
_COPIED = (".json", ".txt", ".jinja", ".model")


class _Examples(Dataset[Example]):
    """Conversations in the order in which they are to be read."""

    def __init__(self, stored: list[Stored], order: Sequence[int]):
        self.stored = stored
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Example:
        stored = self.stored[self.order[index]]
        return Example(stored.conversation, stored.image.read_bytes())


class _Watch(TrainerCallback):
    """Tells the progress, evaluates after each epoch, and brings checkpoints to the store."""

    def __init__(self, job: SftJob, steps: int, evaluates: bool):
        self.job = job
        self.steps_per_epoch = steps // job.science.epochs
        self.evaluates = evaluates
        self.store = open_store(job.store) if rank() == 0 else None
        self.progress = Progress("sft", steps, "steps")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Here, and not at the end of an epoch, so that a checkpoint of this step holds the result.
        if self.evaluates and state.global_step % self.steps_per_epoch == 0:
            control.should_evaluate = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ModelError(
                f"The loss of step {state.global_step} is {logs['loss']}",
                where="science.sft",
                hint="lower science.sft.learning_rate, or set science.sft.precision to fp32",
            )
        if rank() == 0 and "loss" in logs:
            self.progress.set(state.global_step, loss=logs["loss"])

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if distributed.is_initialized():
            # Each process writes its own random state; all must be there before any is taken.
            distributed.barrier()
        if self.store is not None:
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            checkpoints.save(self.store, self.job.prefix, state.global_step, folder)
            checkpoints.prune(self.store, self.job.prefix)


def _arguments(job: SftJob, steps: int) -> TrainingArguments:
    science = job.science
    gpu = torch.cuda.is_available()
    if not gpu:
        # accelerate 1.15 names the CPU of a process group cpu:0, which torch.load does not know.
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    return TrainingArguments(
        output_dir=str(job.work / "checkpoints"),
        num_train_epochs=1,
        per_device_train_batch_size=job.micro_batch_size,
        # One by one, so that the evaluation is the mean over conversations on any number of processes.
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=accumulation(science.batch_size, world_size(), job.micro_batch_size),
        optim="adamw_torch_fused",
        learning_rate=science.learning_rate,
        weight_decay=science.weight_decay,
        max_grad_norm=1.0,
        lr_scheduler_type="cosine",
        warmup_steps=math.floor(science.warmup_share * steps),
        bf16=science.precision == "bf16",
        gradient_checkpointing=gpu,
        gradient_checkpointing_kwargs={"use_reentrant": False} if gpu else None,
        dataloader_num_workers=_LOADERS_PER_GPU if gpu else 0,
        seed=science.seed,
        use_cpu=not gpu,
        ddp_backend=None if world_size() == 1 else "nccl" if gpu else "gloo",
        ddp_find_unused_parameters=False,
        ddp_timeout=_PATIENCE_S,
        save_strategy="steps",
        save_steps=job.save_steps,
        save_total_limit=1,
        train_sampling_strategy="sequential",
        logging_steps=1,
        logging_nan_inf_filter=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )


class _Trainer(Trainer):
    """Trainer that goes on with the weights that its model has."""

    def _load_from_checkpoint(self, *_: Any, **__: Any) -> None:
        # `_load` took the checkpoint's weights. Trainer 5.10 would look for them under the names that
        # they have in memory; Qwen2.5-VL's have others on disk, so it would go on with those of the
        # student, with a warning at most.
        return


def _token_mean(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> Any:
    """The mean over all learnt tokens of an optimiser step (None: over those of one batch).

    Left to itself, Trainer gives a Qwen2.5-VL the mean over micro batches of their means, which depends
    on how a step is shared among processes.
    """
    logits = outputs["logits"]
    return ForCausalLMLoss(logits, labels, logits.shape[-1], num_items_in_batch=num_items_in_batch)


def _load(job: SftJob) -> torch.nn.Module:
    model = AutoModelForImageTextToText.from_pretrained(
        job.resume or job.model, dtype=torch.float32, attn_implementation="sdpa"
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    if not job.science.train_vision:
        model.model.visual.requires_grad_(False)
    model.config.get_text_config().use_cache = False
    return model


def train(job: SftJob) -> None:
    """Trains as one process of the group; rank 0 leaves model, log and outcome in the job's folder.

    Raises:
        SpecError: the batch size cannot be shared by the group.
        DataError: a conversation does not fit into `max_length`, or its image cannot be read.
        ModelError: the model's files do not belong together, or the loss is no number.
    """
    science = job.science
    processor = AutoProcessor.from_pretrained(job.model)
    collator = Collator(processor, science.max_length)
    stored, kept = unpacked(job.work, Split.TRAIN), unpacked(job.work, Split.VALIDATION)
    order = reading_order(len(stored), science)
    training, validation = _Examples(stored, order), _Examples(kept, range(len(kept)))
    steps = len(order) // science.batch_size
    arguments = _arguments(job, steps)
    _check(collator, [training[index] for index in range(job.micro_batch_size)])
    _check_lengths(collator, stored + kept)
    trainer = _Trainer(
        model=_load(job),
        args=arguments,
        train_dataset=training,
        eval_dataset=validation if kept else None,
        data_collator=collator,
        compute_loss_func=_token_mean,
        callbacks=[_Watch(job, steps, evaluates=len(kept) > 0)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=job.resume)
    if rank() == 0:
        _write_model(trainer.model, Path(job.model), job)
        write_log(job, trainer.state.log_history, len(stored), len(kept))


def _check(collator: Collator, first: list[Example]) -> None:
    """Proves on the first micro batch that the model is taught what is meant, and shows it."""
    shown = collator.verify(first)
    if rank() == 0:
        print(f"The first conversation; the loss is on what stands in ⟦ ⟧:\n{shown}", flush=True)


def _check_lengths(collator: Collator, stored: list[Stored]) -> None:
    """Finds a conversation that does not fit now, not after hours; the processes share the work."""
    for one in stored[rank() :: world_size()]:
        collator.check_length(Example(one.conversation, one.image.read_bytes()))


def _write_model(model: torch.nn.Module, source: Path, job: SftJob) -> None:
    """The trained model's folder: its weights, and all else as the student had it."""
    # Trainer leaves traces in the configuration that it trained with.
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
    die_with_parent()
    logging.disable_progress_bar()
    job = SftJob.model_validate_json(path.read_bytes())
    with reporting(job.work):
        train(job)
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
