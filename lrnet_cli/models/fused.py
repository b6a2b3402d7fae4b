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
- On a CPU, a convolution takes as long for 18 output channels as for 32. ``stage2_5x5`` and ``stage2_5x5_from_3x3``,
  whose kernels have one size, are computed together, and of ``stage2_7x7`` two outputs are split off.

In evaluation mode the running statistics replace the batch's, and the same fusing applies. What is computed from the
weights alone is then kept for the next batch.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnet_cli.errors import UsageError
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.lrnet import LRNet, MKBlock
from lrnet_cli.models.moments import Affine, Moments, affine, moments_of, scaled, split
from lrnet_cli.processes import ALONE, Processes

_LANES = 16  # outputs that a CPU's convolution computes at a time, needed or not
_Value = TypeVar("_Value")
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
        self._kept: tuple[list[int], list[dict[str, Any]]] = ([], [])
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
        blocks = (self.network.block1, self.network.block2, self.network.block3)
        for block, kept in zip(blocks, self._kept_weights(x) or (None, None, None), strict=True):
            x = _fused_block(block, x, self.processes.together, kept)
        return x

    def _kept_weights(self, x: Tensor) -> list[dict[str, Any]] | None:
        """Return what is kept for each block; None in training, or where gradients are asked for.

        It is dropped when a parameter or statistic has changed, and for images of another size or type than ``x``.
        """
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return None
        versions = [tensor._version for tensor in (*self.network.parameters(), *self.network.buffers())]
        state = [*versions, *x.shape[1:], hash(x.dtype), hash(x.device)]
        if self._kept[0] != state:
            self._kept = (state, [{}, {}, {}])
        return self._kept[1]

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


def _fused_block(block: MKBlock, x: Tensor, together: bool, kept: dict[str, Any] | None) -> Tensor:
    """Return the output (N, 24, H // 2, W // 2) of ``block`` for x (N, c, H, W).

    What follows from the weights alone is taken from ``kept``, or added to it, if that is not None.
    """

    def once(name: str, compute: Callable[[], _Value]) -> _Value:
        if kept is None:
            return compute()
        if name not in kept:
            kept[name] = compute()
        value: _Value = kept[name]
        return value

    training, c = block.training, x.shape[1]
    ones = torch.ones_like(x[:, :1], memory_format=torch.channels_last)
    s3, s5, s7 = (_conv(stage, x).relu_() for stage in (block.stage1_3x3, block.stage1_5x5, block.stage1_7x7))
    narrow, wide = torch.cat([x, s3, s5, ones], 1), torch.cat([x, s3, s5, s7, ones], 1)
    of_x, of_s3, of_s5, of_s7 = moments_of(training, together, x, s3, s5, s7)
    norm_3 = once("norm_3", lambda: affine(block.bn_3, of_s3))
    norm_35 = once("norm_35", lambda: affine(block.bn_3_5, of_x, of_s3, of_s5))
    norm_357 = once("norm_357", lambda: affine(block.bn_3_5_7, of_x, of_s3, of_s5, of_s7))

    t3 = _conv_of_affine(s3, *once("t3", lambda: _affine_weights(block.stage2_3x3, s3, *norm_3))).relu_()
    # Together, two kernels of one size leave fewer lanes unused.
    of_fives = (block.stage2_5x5, norm_35, 0), (block.stage2_5x5_from_3x3, norm_3, c)
    (fives,) = _convs_of_wide(narrow, once("fives", lambda: _wide_weights(narrow, *of_fives)))
    t7 = _convs_of_wide(wide, once("t7", lambda: _wide_weights(wide, (block.stage2_7x7, norm_357, 0))))
    of_t3, of_both, *of_t7 = moments_of(training, together, t3, fives, *t7)
    widths = [36, 24]
    of_t5, of_t53 = split(of_both, widths)
    norm_57 = once("norm_57", lambda: affine(block.bn_stage2_5_7, of_x, of_t5, *of_t7))
    of_n3 = None if of_s3 is None else Moments(block.bn_3.bias, norm_3.s.square() * of_s3.var, of_s3.count)
    norm_m3 = once("norm_m3", lambda: affine(block.bn_stage2_3, of_x, of_t3, of_t53, of_n3))

    t5, t53 = fives.split(widths, 1)
    late = torch.cat([x, t5, *t7, ones], 1)
    (u,) = _convs_of_wide(late, once("u", lambda: _wide_weights(late, (block.stage3_3x3, norm_57, 0))))
    (of_u,) = moments_of(training, together, u)

    def projections() -> tuple[list[Tensor], Tensor]:
        norm_4 = affine(block.bn_stage3, of_u)
        parts, bias = projection_of(block, c, norm_3, norm_35, norm_357, norm_57, norm_m3, norm_4)
        nothing = bias.new_zeros(len(bias), 1)
        of_wide = torch.cat([parts["x"], parts["s3"], parts["s5"], parts["s7"], nothing], 1)
        of_late = torch.cat([nothing.expand(-1, c), parts["t5"], parts["t7"], nothing], 1)
        weights = (of_wide, of_late, parts["t3"], parts["t53"], parts["u"])
        return [weight[:, :, None, None] for weight in weights], bias

    weights, bias = once("projections", projections)
    projected = functional.conv2d(wide, weights[0], bias)
    for z, weight in zip((late, t3, t53, u), weights[1:], strict=True):
        projected = projected + functional.conv2d(z, weight)
    projected = projected.relu_()
    (of_projected,) = moments_of(training, together, projected)
    normalised = scaled(projected, *once("norm_out", lambda: affine(block.bn_out, of_projected)))
    return functional.max_pool2d(normalised, 2)


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


def _affine_weights(stage: nn.Conv2d, z: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights that ``stage`` of ``s·z + t`` has for z, and a map that knows where padding cuts ``t`` off."""
    ones = z.new_ones(1, 1, *z.shape[2:])
    shift = functional.conv2d(ones, (stage.weight * t[:, None, None]).sum(1, keepdim=True), stage.bias, padding="same")
    return stage.weight * s[:, None, None], shift


def _conv_of_affine(z: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    return functional.conv2d(z, weight, padding="same") + shift


def _wide_weights(wide: Tensor, *stages: tuple[nn.Conv2d, Affine, int]) -> list[tuple[Tensor, Tensor]]:
    """Return weights and bias of the convolutions of ``s·z + t`` by stages with kernels of one size.

    Each stage comes with its norm and the number of the channel of ``wide`` with which its z begins; the last channel
    of ``wide`` is ones. The outputs come in one part or, for a CPU, in two.
    """
    whole, biases = [], []
    for stage, (s, t), begin in stages:
        of_z = functional.pad(stage.weight * s[:, None, None], (0, 0, 0, 0, begin, wide.shape[1] - 1 - begin - len(s)))
        of_ones = (stage.weight * t[:, None, None]).sum(1, keepdim=True)
        assert stage.bias is not None
        whole.append(torch.cat([of_z, of_ones], 1))
        biases.append(stage.bias)
    weight, bias = torch.cat(whole).contiguous(memory_format=torch.channels_last), torch.cat(biases)
    left_over, side = len(weight) % _LANES, weight.shape[2]
    if wide.device.type == "cpu" and 0 < left_over * side <= _LANES:
        full = len(weight) - left_over
        return [(weight[:full], bias[:full]), (weight[full:], bias[full:])]
    return [(weight, bias)]


def _convs_of_wide(wide: Tensor, parts: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return the rectified convolutions of ``wide`` by weights and biases as ``_wide_weights`` gives them."""
    (weight, bias), *left_over = parts
    outputs = [functional.conv2d(wide, weight, bias, padding="same").relu_()]
    return outputs + [_by_rows(wide, *part).relu_() for part in left_over]


def _by_rows(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return a convolution of z with few outputs: every row of a kernel is an output at first, then they are added."""
    outputs, channels, side = weight.shape[:3]
    along = weight.transpose(1, 2).reshape(outputs * side, channels, 1, side)
    rows = functional.conv2d(z, along.contiguous(memory_format=torch.channels_last), padding=(0, side // 2))
    # The value of a kernel's row is wanted as many pixels below or above as the row is from the kernel's middle.
    every_row = torch.eye(outputs * side, dtype=weight.dtype, device=weight.device)
    down = every_row.view(outputs, side, outputs * side).transpose(1, 2).unsqueeze(3)
    return functional.conv2d(rows, down, bias, padding=(side // 2, 0))
