"""Batch statistics of the fused network, and norms as affine maps.

Statistics are always computed in float32 or wider, whatever the activations are. Over several processes they are those
of the global batch: two small exchanges per stage, one forward and one backward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnet_cli.processes import gathered, summed

_NEXT_TO_NOTHING = 1e-30  # leaves 1 as it is when added; PyTorch 2.11 refuses an epsilon of 0


@dataclass
class Moments:
    """Mean and biased variance, each (channels,), and the number of values behind each, a scalar."""

    mean: Tensor
    var: Tensor
    count: Tensor


class _MomentsOf(torch.autograd.Function):
    """Means, biased variances and count of every channel of several tensors, over all processes if there are several.

    Backward takes one pass over each input where PyTorch's own formula takes four.
    """

    @staticmethod
    def forward(ctx: Any, together: bool, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(inputs[0].dtype, torch.float32)
        mean, var = (torch.cat(values) for values in zip(*(_mean_and_var(z, wide) for z in inputs), strict=True))
        count = mean.new_full((), inputs[0].numel() // inputs[0].shape[1])
        if together:
            mean, var, count = _combined(mean, var, count)
        ctx.save_for_backward(mean, count, *inputs)
        ctx.together = together
        ctx.mark_non_differentiable(count)
        return mean, var, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        mean, count, *inputs = ctx.saved_tensors
        of_mean, of_var = gradients[:2]
        if ctx.together:  # every process's loss depends on the statistics of all
            of_mean, of_var = summed(torch.stack([of_mean, of_var])).unbind()
        scale = (2 / count) * of_var
        shift = of_mean / count - scale * mean
        widths = [z.shape[1] for z in inputs]
        return None, *(
            scaled(z, a, b) for z, a, b in zip(inputs, scale.split(widths), shift.split(widths), strict=True)
        )


def _mean_and_var(z: Tensor, wide: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance, each (channels,) and as ``wide``, of z (N, channels, H, W)."""
    if z.device.type == "cpu" and not torch.compiler.is_compiling():
        # Twenty times as fast as var_mean where channels are last. Statistics that would be updated say in what
        # precision they are returned.
        unused = z.new_ones(z.shape[1], dtype=wide)
        mean, var = torch.batch_norm_update_stats(z, unused, unused, 0.0)
    else:
        var, mean = torch.var_mean(z.to(wide), dim=(0, 2, 3), correction=0)
    return mean, var


def _combined(mean: Tensor, var: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the moments of all processes' values, without cancellation (Chan, Golub and LeVeque 1983)."""
    means, variances, counts = gathered(torch.cat([mean, var, count[None]])).split([len(mean), len(var), 1], 1)
    total = counts.sum()
    shares = counts / total
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0), total


def moments_of(
    training: bool, together: bool, tensors: Sequence[Tensor], widths: Mapping[str, int]
) -> Mapping[str, Moments | None]:
    """Return the batch's moments of the channels of ``tensors``, by the name that ``widths`` has for so many of them.

    In evaluation mode they are None: the norms use their running statistics.
    """
    if not training:
        return dict.fromkeys(widths)
    mean, var, count = _MomentsOf.apply(together, *tensors)
    means, variances = (values.split([*widths.values()]) for values in (mean, var))
    return {name: Moments(mean, var, count) for name, mean, var in zip(widths, means, variances, strict=True)}


class Affine(NamedTuple):
    """A norm as ``s·z + t``; both are (channels,)."""

    s: Tensor
    t: Tensor


def affine(norm: nn.BatchNorm2d, *parts: Moments | None) -> Affine:
    """Return ``norm`` as an affine map, for a concatenation of tensors with the moments ``parts``.

    With moments, as in training mode, the running statistics are updated; without, they are used.
    """
    known = [part for part in parts if part is not None]
    if known:
        mean, var = torch.cat([part.mean for part in known]), torch.cat([part.var for part in known])
        _update_running_statistics(norm, mean.detach(), var.detach(), known[0].count)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = norm.running_mean, norm.running_var
    s = norm.weight * (var + norm.eps).rsqrt()
    return Affine(s, norm.bias - mean * s)


def scaled(z: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Return ``s·z + t``, computed in the type of s and rounded to z's: on a CPU in one pass."""
    if z.device.type != "cpu":  # where not every version of PyTorch takes a batch norm of two types
        return torch.addcmul(t[:, None, None], z, s[:, None, None]).to(z.dtype)
    return functional.batch_norm(z, torch.zeros_like(s), torch.ones_like(s), s, t, eps=_NEXT_TO_NOTHING)


@torch.no_grad()
def _update_running_statistics(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor, count: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    # PyTorch: no momentum means the plain average over all batches, and the stored variance is the unbiased one.
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean += share * (mean - norm.running_mean)
    norm.running_var += share * (var * (count / (count - 1)) - norm.running_var)
