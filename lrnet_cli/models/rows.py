"""Rows for matrix products, padded so that an image's answer does not depend on how many others are in its batch."""

import torch
from torch import Tensor, nn

_MULTIPLE = 16  # as many rows at least as a CPU's matrix product works on at a time


def padded_rows(x: Tensor) -> Tensor:
    """Return x (N, K) with rows of zeros up to a multiple of 16; as it is where gradients or an export are asked for.

    A matrix product on a CPU adds in another order for the rows that are left over.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x
    return nn.functional.pad(x, (0, 0, 0, -len(x) % _MULTIPLE))
