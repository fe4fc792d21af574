"""verl on a machine without an accelerator: a platform plug-in, so that GRPO runs on a CPU.

verl loads this module in each of its processes (``VERL_USE_EXTERNAL_MODULES``) and asks the
platform named by ``VERL_PLATFORM=cpu`` for its device. Engines are looked up as on CUDA
(``VERL_ENGINE_DEVICE=cuda``); processes take logical GPUs of Ray, which need no hardware.

Beside the platform stand three repairs. Two are of calls that verl makes with a second device in
mind, and name what fails without them; one makes an update several times faster.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
import torch.distributed
import torch.distributed.fsdp
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry

from fundus_r1.training.patch_embedding import as_product

CPU = torch.device("cpu")


class _CpuModule(types.ModuleType):
    """What verl asks ``torch.cuda`` for; the rest is `torch.cpu`'s."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def is_available(self) -> bool:
        """False: verl reads it as "there is device memory to tune"."""
        return False

    def current_device(self) -> torch.device:
        return CPU

    def get_device_name(self, *_: object) -> str:
        return "CPU"

    def empty_cache(self) -> None: ...

    def ipc_collect(self) -> None: ...

    def memory_allocated(self, *_: object) -> int:
        return 0

    memory_reserved = max_memory_allocated = max_memory_reserved = memory_allocated

    def mem_get_info(self, *_: object) -> tuple[int, int]:
        """(free, total) bytes of the machine."""
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def get_rng_state(self, *_: object) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, *_: object) -> None:
        torch.set_rng_state(state)


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """The CPU in the place of an accelerator."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _CpuModule("verl_cpu_device")

    def is_available(self) -> bool:
        return True

    def current_device(self) -> torch.device:
        """A device, not an index: verl puts it where tensors are made."""
        return CPU

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None: ...

    def profiler_stop(self) -> None: ...

    def ray_resource_name(self) -> str:
        """Ray's ``num_gpus`` is a number that anyone may state; it stands for processes here."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """False sends the weights from the trainer to vLLM through shared memory."""
        return False

    def cudart(self) -> None:
        return None


def _name_cpu_once(init_process_group: Callable[..., Any]) -> Callable[..., Any]:
    """verl asks for ``cpu:gloo,<device>:<backend>``, which names the CPU twice; torch refuses that."""

    def init(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
        return init_process_group("cpu:gloo" if backend == "cpu:gloo,cpu:gloo" else backend, *args, **kwargs)

    return init


class _UnpinnedOffload(torch.distributed.fsdp.CPUOffloadPolicy):
    """verl offloads the reference policy to pinned memory, which only an accelerator has."""

    def __init__(self, pin_memory: bool = True):
        super().__init__(pin_memory=False)


# Set once a process: Python imports a module once.
torch.distributed.init_process_group = _name_cpu_once(torch.distributed.init_process_group)
torch.distributed.fsdp.CPUOffloadPolicy = _UnpinnedOffload
torch.nn.Conv3d.forward = as_product(torch.nn.Conv3d.forward)
