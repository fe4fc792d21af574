"""A product stands for a convolution where both are the same, and nowhere else."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("larger", [0, 1])
def test_the_product_gives_what_the_convolution_gives(bias: bool, larger: int) -> None:
    import torch

    from fundus_r1.training.patch_embedding import as_product

    torch.manual_seed(0)
    convolution = torch.nn.Conv3d(3, 8, (2, 4, 4), bias=bias)
    images = torch.randn(5, 3, 2 + larger, 4, 4)
    convolved = []

    def convolve(module: torch.nn.Conv3d, given: torch.Tensor) -> torch.Tensor:
        convolved.append(given)
        return torch.nn.Conv3d.forward(module, given)

    found = as_product(convolve)(convolution, images)
    torch.testing.assert_close(found, torch.nn.Conv3d.forward(convolution, images), rtol=1e-5, atol=1e-5)
    assert len(convolved) == larger
