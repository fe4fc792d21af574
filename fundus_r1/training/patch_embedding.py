"""The first layer of Qwen2.5-VL's vision tower as one product of matrices.

It is written as a convolution whose kernel covers its whole input, so nothing slides. PyTorch's `Conv3d`
does not see that: on a CPU it takes a fifth of the tower's time in fp32, and most of an update's in
bfloat16, where its gradient takes more than ten times that of the product.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def as_product(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`Conv3d.forward`, as a product where that is the same.

    Args:
        convolve: does it otherwise.
    """

    def forward(self: nn.Conv3d, images: Tensor) -> Tensor:
        if tuple(images.shape[2:]) != self.kernel_size or any(self.padding):
            return convolve(self, images)
        product = torch.nn.functional.linear(images.flatten(1), self.weight.flatten(1), self.bias)
        return product[:, :, None, None, None]

    return forward
