"""LR-Net with its batch norms fused into the convolutions: the same function of the same parameters, in less time.

A batch norm of a concatenation is a batch norm of each of its tensors, and each of those is an affine map ``s·z + t``
per channel once the statistics of z are known. A tensor's statistics are therefore computed once, however many norms
read it, and no normalised tensor is ever written to memory:

- A convolution of ``s·z + t`` is a convolution of z with the weights ``W·s``, plus one with the weights ``Σ W·t`` of a
  picture of ones. The picture of ones matters: with zero padding, ``t`` is missing at the border. It is added as a
  last channel where the input is a concatenation anyway; elsewhere its convolution is added as a map.
- ``n3``, read by ``bn_stage2_3``, needs no pass over memory: its mean is ``bn_3.bias``, its variance ``s² · var``.
- ``project_1x1`` reads most tensors several times under different norms. It becomes a 1×1 convolution of the distinct
  tensors with summed weights.

In evaluation mode the running statistics replace the batch's, and the same fusing applies.

Statistics are always computed in float32 or wider, whatever the activations are. Over several processes they are those
of the global batch: two small exchanges per stage, one forward and one backward.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnet_cli.errors import UsageError
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.lrnet import LRNet, MKBlock
from lrnet_cli.processes import ALONE, Processes, gathered, summed

_SMALLEST_FUSED = 16  # pixels; below, the plain network was measured to be faster on a CPU


def fuse(network: nn.Module, wanted: bool = True, processes: Processes = ALONE) -> nn.Module:
    """Return a faster view of ``network`` that shares its parameters, statistics and mode.

    The network itself is returned if fusing is not ``wanted``, if it is not an LR-Net, or if its pictures are so small
    that the work on the weights would outweigh what is saved on the pictures. Batch statistics are those of all
    ``processes``; only the fused network computes them, so with several it is fused at any size.
    """
    if isinstance(network, Ensemble):
        return network.each(lambda member: fuse(member, wanted, processes))
    if wanted and isinstance(network, LRNet) and (processes.together or network.image_size >= _SMALLEST_FUSED):
        return FusedLRNet(network, processes)
    return network


class FusedLRNet(nn.Module):
    """A view of ``network``: same parameters, same statistics, same outputs and gradients up to rounding.

    ``forward`` takes floats (N, C, S, S) in [0, 1] and returns logits (N, classes). In training mode it updates the
    running statistics as the network itself would, and needs a batch of two or more. The batch is that of
    all ``processes``, each of which provides an equal part.
    """

    def __init__(self, network: LRNet, processes: Processes = ALONE) -> None:
        super().__init__()
        self.network = network
        self.processes = processes
        self.train(network.training)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S) in [0, 1]."""
        if self.training and len(images) < 2 and not self.processes.together:
            raise UsageError("Training needs a batch of two or more pictures, for batch normalisation.")
        if self.training and images.device.type == "cuda" and not self.processes.together:
            # As measured there: the work on the weights takes longer than the passes over memory that it saves.
            logits: Tensor = self.network(channels_last(images))
            return logits
        return self.classify(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Return the third block's output, (N, 24, S // 8, S // 8)."""
        x = channels_last(images)
        for block in (self.network.block1, self.network.block2, self.network.block3):
            x = _fused_block(block, x, self.processes.together)
        return x

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (N, classes) of the third block's output."""
        return self.network.classify(features, self.processes)


def channels_last(images: Tensor) -> Tensor:
    """Return pictures (N, C, H, W) whose strides say that channels are last.

    The strides of single-channel pictures fit both layouts. A concatenation with channels-last maps then comes out
    channels-first, and is copied before and after each convolution.
    """
    n, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1).flatten(1)
    return pixels.view(n, height, width, channels).permute(0, 3, 1, 2)


@dataclass
class _Moments:
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
        mean, var = (torch.cat(values) for values in zip(*(_mean_and_var(z.to(wide)) for z in inputs), strict=True))
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
            torch.addcmul(b[:, None, None], z, a[:, None, None]).to(z.dtype)
            for z, a, b in zip(inputs, scale.split(widths), shift.split(widths), strict=True)
        )


def _mean_and_var(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance, each (channels,), of z (N, channels, H, W)."""
    if z.device.type == "cpu" and not torch.compiler.is_compiling():
        # Twenty times as fast as var_mean where channels are last.
        mean, var = torch.batch_norm_update_stats(z, None, None, 0.0)
    else:
        var, mean = torch.var_mean(z, dim=(0, 2, 3), correction=0)
    return mean, var


def _combined(mean: Tensor, var: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the moments of all processes' values, without cancellation (Chan, Golub and LeVeque 1983)."""
    means, variances, counts = gathered(torch.cat([mean, var, count[None]])).split([len(mean), len(var), 1], 1)
    total = counts.sum()
    shares = counts / total
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0), total


def _moments(training: bool, together: bool, *inputs: Tensor) -> list[_Moments] | list[None]:
    """Return the moments of the batch in training mode; in evaluation mode the norms use their running statistics."""
    if not training:
        return [None for _ in inputs]
    mean, var, count = _MomentsOf.apply(together, *inputs)
    widths = [z.shape[1] for z in inputs]
    return [_Moments(m, v, count) for m, v in zip(mean.split(widths), var.split(widths), strict=True)]


class Affine(NamedTuple):
    """A norm as ``s·z + t``; both are (channels,)."""

    s: Tensor
    t: Tensor


def affine(norm: nn.BatchNorm2d, *parts: _Moments | None) -> Affine:
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


def _fused_block(block: MKBlock, x: Tensor, together: bool) -> Tensor:
    """Return the output (N, 24, H // 2, W // 2) of ``block`` for x (N, c, H, W)."""
    training, c = block.training, x.shape[1]
    ones = torch.ones_like(x[:, :1], memory_format=torch.channels_last)
    s3, s5, s7 = (_conv(stage, x).relu_() for stage in (block.stage1_3x3, block.stage1_5x5, block.stage1_7x7))
    wide = torch.cat([x, s3, s5, s7, ones], 1)
    of_x, of_s3, of_s5, of_s7 = _moments(training, together, x, s3, s5, s7)
    norm_3 = affine(block.bn_3, of_s3)
    norm_35 = affine(block.bn_3_5, of_x, of_s3, of_s5)
    norm_357 = affine(block.bn_3_5_7, of_x, of_s3, of_s5, of_s7)

    t3, t53 = (_conv_of_affine(stage, s3, *norm_3).relu_() for stage in (block.stage2_3x3, block.stage2_5x5_from_3x3))
    t5 = _conv_of_wide(block.stage2_5x5, wide, *norm_35).relu_()
    t7 = _conv_of_wide(block.stage2_7x7, wide, *norm_357).relu_()
    of_t3, of_t53, of_t5, of_t7 = _moments(training, together, t3, t53, t5, t7)
    norm_57 = affine(block.bn_stage2_5_7, of_x, of_t5, of_t7)
    of_n3 = None if of_s3 is None else _Moments(block.bn_3.bias, norm_3.s.square() * of_s3.var, of_s3.count)
    norm_m3 = affine(block.bn_stage2_3, of_x, of_t3, of_t53, of_n3)

    late = torch.cat([x, t5, t7, ones], 1)
    u = _conv_of_wide(block.stage3_3x3, late, *norm_57).relu_()
    norm_4 = affine(block.bn_stage3, *_moments(training, together, u))

    parts, bias = projection_of(block, c, norm_3, norm_35, norm_357, norm_57, norm_m3, norm_4)
    nothing = bias.new_zeros(len(bias), 1)
    projected = (
        _project(wide, torch.cat([parts["x"], parts["s3"], parts["s5"], parts["s7"], nothing], 1), bias)
        + _project(late, torch.cat([nothing.expand(-1, c), parts["t5"], parts["t7"], nothing], 1))
        + _project(t3, parts["t3"])
        + _project(t53, parts["t53"])
        + _project(u, parts["u"])
    ).relu_()
    s_out, t_out = affine(block.bn_out, *_moments(training, together, projected))
    normalised = torch.addcmul(t_out[:, None, None], projected, s_out[:, None, None])
    return functional.max_pool2d(normalised.to(projected.dtype), 2)


def projection_of(
    block: MKBlock, c: int, n3: Affine, n35: Affine, n357: Affine, n57: Affine, m3: Affine, n4: Affine
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the projection of ``block`` with the norms before it folded in.

    That is for each distinct tensor a weight (24, channels), ``x`` of ``c`` channels first, and the bias (24,).
    """
    of, of_m3, of_n3, of_n35, of_n357, of_n57, of_n4 = block.project_1x1.weight[:, :, 0, 0].split(
        [c, c + 120, 48, c + 72, c + 84, c + 54, 72], 1
    )
    # Each norm's share, as weights of what it normalises.
    m3_x, m3_t3, m3_t53, m3_n3 = (of_m3 * m3.s).split([c, 48, 24, 48], 1)
    n35_x, n35_s3, n35_s5 = (of_n35 * n35.s).split([c, 48, 24], 1)
    n357_x, n357_s3, n357_s5, n357_s7 = (of_n357 * n357.s).split([c, 48, 24, 12], 1)
    n57_x, n57_t5, n57_t7 = (of_n57 * n57.s).split([c, 36, 18], 1)
    parts = {
        "x": of + m3_x + n35_x + n357_x + n57_x,
        "s3": (of_n3 + m3_n3) * n3.s + n35_s3 + n357_s3,
        "s5": n35_s5 + n357_s5,
        "s7": n357_s7,
        "t3": m3_t3,
        "t53": m3_t53,
        "t5": n57_t5,
        "t7": n57_t7,
        "u": of_n4 * n4.s,
    }
    bias = block.project_1x1.bias
    assert bias is not None
    bias = bias + of_m3 @ m3.t + (of_n3 + m3_n3) @ n3.t + of_n35 @ n35.t + of_n357 @ n357.t + of_n57 @ n57.t
    return parts, bias + of_n4 @ n4.t


def _conv(stage: nn.Conv2d, z: Tensor) -> Tensor:
    return functional.conv2d(z, stage.weight, stage.bias, padding="same")


def _conv_of_affine(stage: nn.Conv2d, z: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Return the convolution of ``s·z + t``: that of z, and a map that knows where the padding cuts ``t`` off."""
    ones = z.new_ones(1, 1, *z.shape[2:])
    shift = functional.conv2d(ones, (stage.weight * t[:, None, None]).sum(1, keepdim=True), stage.bias, padding="same")
    return functional.conv2d(z, stage.weight * s[:, None, None], padding="same") + shift


def _conv_of_wide(stage: nn.Conv2d, wide: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Return the convolution of ``s·z + t``, where z are the first channels of ``wide`` and ones its last channel.

    Channels between the two get zero weights: that costs less than a copy of z without them.
    """
    weight = stage.weight * s[:, None, None]
    unused = weight.new_zeros(len(weight), wide.shape[1] - 1 - len(s), *weight.shape[2:])
    of_ones = (stage.weight * t[:, None, None]).sum(1, keepdim=True)
    whole = torch.cat([weight, unused, of_ones], 1).contiguous(memory_format=torch.channels_last)
    return functional.conv2d(wide, whole, stage.bias, padding="same")


def _project(z: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.conv2d(z, weight[:, :, None, None], bias)
