"""How vLLM's CPU workers take the trainer's weights after each GRPO step.

On a CPU, vLLM's linear layers pack their weights and drop the parameters from which they were
packed, so verl's own way, ``load_weights`` on the live model, fails. vLLM's ``reload_weights``
restores the parameters, loads them and packs them anew.

verl loads this class as vLLM's ``worker_extension_cls``.
"""

from __future__ import annotations

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's vLLM worker with the weight update of a CPU."""

    def update_weights_from_ipc(
        self, peft_config: dict[str, Any] | None = None, base_sync_done: bool = False, use_shm: bool = True
    ) -> None:
        """Receives all weights and reloads the model with them."""
        if peft_config:
            raise NotImplementedError("LoRA adapters cannot be sent to vLLM's CPU workers")
        weights: dict[str, torch.Tensor] = {}

        def keep(bucket: list[tuple[str, torch.Tensor]], is_last: bool) -> None:
            # The bucket's memory is shared and used again; on a CPU ``.to(device)`` is only a view.
            weights.update((name, tensor.clone()) for name, tensor in bucket)

        BucketedWeightReceiver(
            zmq_handle=self._get_zmq_handle(), device=torch.device("cpu"), use_shm=use_shm
        ).receive_weights(keep)
        if HEAD not in weights:
            # A tied head is packed apart; without its own name in the stream it would stay as it was.
            weights[HEAD] = next(tensor for name, tensor in weights.items() if name.endswith(EMBEDDING))
        self.model_runner.reload_weights(weights_iterator=iter(weights.items()), is_checkpoint_format=True)
