"""transformers' Trainer where SFT needs it otherwise (paper, Sec. 3.4).

* The loss is the mean over all learnt tokens of an optimiser step, however the step is shared out among
  processes and micro batches. Left to itself, Trainer gives a Qwen2.5-VL the mean of the means.
* Logits are computed only where there is a label: a conversation is mostly prompt and image, and the head
  of a 3B model costs as much as four of its layers.
* A checkpoint holds what is trained and no weights beside it; DeepSpeed writes its own.
* What a step took is logged with its loss (`figures`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from transformers import Trainer
from transformers.loss.loss_utils import ForCausalLMLoss

from fundus_r1.errors import ModelError
from fundus_r1.training import zero
from fundus_r1.training.collator import IGNORED
from fundus_r1.training.figures import device_name, peak_flops, peak_memory, work_of

TRAINED = "trained.safetensors"
"""In a checkpoint without DeepSpeed: the weights that are trained, in fp32."""


def first(batch: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Collates micro batches that come ready-made, one by one."""
    return batch[0]


class SftTrainer(Trainer):
    """Trainer of micro batches that come ready-made."""

    def __init__(self, *, precision: str, **given: Any):
        super().__init__(data_collator=first, **given)
        # Lets Trainer count the labels of a whole step.
        self.model_accepts_loss_kwargs = True
        self._work = work_of(self.model)
        self._peak = peak_flops(device_name(), precision)
        self._began = time.perf_counter()
        self._done = torch.zeros(3, dtype=torch.float64)

    def get_batch_samples(self, *given: Any) -> tuple[list[dict[str, Tensor]], Any]:
        self._began = time.perf_counter()
        self._done.zero_()
        batches, learnt = super().get_batch_samples(*given)
        for batch in batches:
            self._done += torch.tensor(self._cost(batch), dtype=torch.float64)
        return batches, learnt

    def _cost(self, batch: dict[str, Tensor]) -> tuple[float, float, float]:
        """Tokens, learnt tokens and FLOPs of a micro batch."""
        lengths = conversation_lengths(batch)
        learnt = int((batch["labels"][:, 1:] != IGNORED).sum())
        patches = batch["image_grid_thw"].prod(-1).tolist()
        return sum(lengths), learnt, self._work.flops(lengths, learnt, patches)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        inputs = dict(inputs)
        following = inputs.pop("labels")[:, 1:]
        kept = (following != IGNORED).any(0).nonzero()[:, 0]
        outputs = model(**inputs, logits_to_keep=kept)
        logits = outputs["logits"]
        loss = ForCausalLMLoss(
            logits,
            None,
            logits.shape[-1],
            num_items_in_batch=num_items_in_batch,
            shift_labels=following[:, kept].contiguous(),
        )
        if num_items_in_batch is not None:
            # Gradients are averaged over the processes.
            loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # counted in `_cost`

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= self._figures()
        super().log(logs, start_time)

    def _figures(self) -> dict[str, float]:
        seconds = time.perf_counter() - self._began
        done = self._done.to(self.args.device)
        if distributed.is_initialized():
            distributed.all_reduce(done)
        tokens, learnt, flops = done.tolist()
        found = {
            "tokens": tokens,
            "learnt_tokens": learnt,
            "tokens_per_s": tokens / seconds,
            "memory": peak_memory(),
        }
        if self._peak is not None:
            found["mfu"] = flops / seconds / (self._peak * self.args.world_size)
        return found

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        # DeepSpeed drops groups without weights, as where only adapters learn.
        self._decays = [group["weight_decay"] for group in optimizer.param_groups if group["params"]]
        return optimizer

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.is_deepspeed_enabled:
            zero.mend(self.optimizer.optimizer.optimizer, self._decays)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        if self.args.should_save and not self.is_deepspeed_enabled:
            save_file(
                {name: weight.detach().contiguous() for name, weight in self._trained()}, folder / TRAINED
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        found = load_file(Path(resume_from_checkpoint) / TRAINED)
        wanted = dict(self._trained())
        if found.keys() != wanted.keys():
            other = min(found.keys() ^ wanted.keys())
            raise ModelError(
                f"The checkpoint trains other weights than this run, such as {other}",
                where=TRAINED,
                hint="delete the stage's checkpoints in the store to begin anew",
            )
        with torch.no_grad():
            for name, weight in wanted.items():
                weight.copy_(found[name])

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]


def conversation_lengths(batch: dict[str, Tensor]) -> list[int]:
    """Tokens of each conversation of a micro batch, padding left out."""
    if "position_ids" not in batch:
        return batch["attention_mask"].sum(1).tolist()
    # Packed: the positions of the text begin anew with each conversation.
    begins = (batch["position_ids"][0, 0] == 0).nonzero()[:, 0].tolist()
    ends = [*begins[1:], batch["input_ids"].shape[1]]
    return [end - begin for begin, end in zip(begins, ends, strict=True)]
