"""The repairs of verl: each shows what fails without it, and that it holds with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.engines


def packed(lengths: list[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
    """M-RoPE position ids of a batch, as the transfer queue packs them."""
    from transfer_queue.storage.managers.simple_storage_manager import AsyncSimpleStorageManager

    rows = [torch.arange(4 * length).reshape(4, length) + 1000 * i for i, length in enumerate(lengths)]
    return rows, AsyncSimpleStorageManager._pack_field_values(rows)


@pytest.mark.parametrize("lengths", [[7, 7, 7], [7], [4, 4], [16, 16, 16, 16], [5, 6, 7], [7, 7, 8]])
def test_position_ids_are_ragged_along_their_length_whatever_the_lengths(lengths: list[int]) -> None:
    from verl.utils.tensordict_utils import nested_tensor_from_tensor_list

    from fundus_r1.training.verl_repairs import ragged_along_length

    rows, position_ids = packed(lengths)
    repaired = ragged_along_length(position_ids)
    # What verl does next: it states the ragged dimension, takes samples out and packs them anew.
    repaired._ragged_idx = 2
    samples = list(repaired.unbind())
    assert all(torch.equal(sample, row) for sample, row in zip(samples, rows, strict=True))
    assert repaired.values().shape == (4, sum(lengths))
    again = nested_tensor_from_tensor_list(samples[::-1], ragged_idx=2)
    padded = torch.nested.to_padded_tensor(again, 0, output_size=(len(rows), 4, max(lengths)))
    assert torch.equal(padded[0, :, : lengths[-1]], rows[-1])


def test_without_the_repair_equal_lengths_fail() -> None:
    _, position_ids = packed([7, 7, 7])
    position_ids._ragged_idx = 2
    with pytest.raises(RuntimeError):
        position_ids.unbind()


PLATFORM = """
import torch
torch.set_default_dtype(torch.float64)
convolve = torch.nn.Conv3d(3, 8, (2, 14, 14), stride=(2, 14, 14))
images = torch.randn(5, 3, 2, 14, 14, requires_grad=True)
whole = torch.randn(1, 3, 4, 28, 28)
def results():
    convolve.zero_grad(); images.grad = None
    out = convolve(images); out.square().sum().backward()
    gradients = [value.grad.clone() for value in (convolve.weight, convolve.bias, images)]
    return [out.detach(), *gradients, convolve(whole).detach()]
before = results()
import verl
from verl.utils.device import get_device_id, get_device_name, get_nccl_backend, get_torch_device
assert (get_device_name(), get_device_id(), get_nccl_backend()) == ("cpu", torch.device("cpu"), "gloo")
free, total = get_torch_device().mem_get_info()
assert 0 < free < total and get_torch_device().memory_allocated() == 0
for old, new in zip(before, results()):
    torch.testing.assert_close(old, new)
import tempfile
place = f"file://{tempfile.mkdtemp()}/x"
torch.distributed.init_process_group("cpu:gloo,cpu:gloo", init_method=place, rank=0, world_size=1)
assert torch.distributed.fsdp.CPUOffloadPolicy().pin_memory is False
from verl.utils import transferqueue_utils as queue
assert queue._async_meta_to_realdata.__module__ == "fundus_r1.training.verl_repairs"
print("held")
"""


def test_the_cpu_plug_in_holds_where_verl_loads_it() -> None:
    """In a process of its own: the repairs stay for a process's life."""
    from pathlib import Path

    from fundus_r1.spec.placement import GrpoPlace
    from fundus_r1.training.grpo_environment import environment

    folder = Path("/tmp")
    done = subprocess.run(
        [sys.executable, "-c", PLATFORM],
        env={"PATH": "/usr/bin:/bin", **environment(GrpoPlace(device="cpu"), folder, folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("held"), done.stderr[-2000:]
