"""LR-Net with its batch norms fused into the convolutions: the same function of the same parameters, in less time.

A batch norm of a concatenation is a batch norm of each of its tensors, and each of those is an affine map ``s·z + t``
per channel once the statistics of z are known. A tensor's statistics are therefore computed once, however many norms
read it, and no normalised tensor is ever written to memory:

- A convolution of ``s·z + t`` is a convolution of z with the weights ``W·s``, plus one with the weights ``Σ W·t`` of an
  image of ones. The image of ones matters: with zero padding, ``t`` is missing at the border. It is added as a
  last channel where the input is a concatenation anyway; elsewhere its convolution is added as a map.
- The output of ``bn_3``, read by ``bn_stage2_3``, needs no pass over memory: its mean is ``bn_3.bias``, its variance
  ``s² · var``.
- ``project_1x1`` reads most tensors several times under different norms. It becomes a 1×1 convolution of the distinct
  tensors with summed weights.
- On a CPU, a convolution takes as long for 18 output channels as for 32. ``stage2_5x5`` and ``stage2_5x5_from_3x3``,
  whose kernels have one size, are computed together, and of ``stage2_7x7`` two outputs are split off.

In evaluation mode the running statistics replace the batch's, and the same fusing applies. What is computed from the
weights alone is then kept for the next batch.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnet_cli.errors import UsageError
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.lrnet import CONVS, NORMS, PROJECTED, LRNet, MKBlock
from lrnet_cli.models.moments import Affine, Moments, affine, moments_of, scaled
from lrnet_cli.processes import ALONE, Processes

_WIDE, _LATE = NORMS["bn_3_5_7"], NORMS["bn_stage2_5_7"]  # concatenations that are convolved
_ALONE = ("stage2_3x3", "stage2_5x5_from_3x3", "stage3_3x3")
DISTINCT = (*_WIDE, *_LATE[1:], *_ALONE)  # the tensors that the projection reads once norms are folded into it
_LANES = 16  # outputs that a CPU's convolution computes at a time, needed or not
_Value = TypeVar("_Value")
_SMALLEST_FUSED = 16  # pixels; below, the plain network was measured to be faster on a CPU


def fuse(network: nn.Module, enabled: bool = True, processes: Processes = ALONE) -> nn.Module:
    """Return a faster view of ``network`` that shares its parameters, statistics and mode.

    The network itself is returned if fusing is not ``enabled``, if it is not an LR-Net, or if its images are so small
    that the work on the weights would outweigh what is saved on the images. Batch statistics are those of all
    ``processes``; only the fused network computes them, so with several it is fused at any size.
    """
    if isinstance(network, Ensemble):
        return network.each(lambda member: fuse(member, enabled, processes))
    if enabled and isinstance(network, LRNet) and (processes.together or network.image_size >= _SMALLEST_FUSED):
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
        self._kept: tuple[list[int], list[_Kept]] = ([], [])
        self.train(network.training)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S) in [0, 1]."""
        if self.training and len(images) < 2 and not self.processes.together:
            raise UsageError("Training needs a batch of two or more images, for batch normalisation.")
        if self.training and images.device.type == "cuda" and not self.processes.together:
            # As measured there: the work on the weights takes longer than the passes over memory that it saves.
            logits: Tensor = self.network(channels_last(images))
            return logits
        return self.classify(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Return the third block's output, (N, 24, S // 8, S // 8)."""
        x = channels_last(images)
        blocks = (self.network.block1, self.network.block2, self.network.block3)
        for block, kept in zip(blocks, self._kept_weights(x), strict=True):
            x = _FusedBlock(block, x, self.processes.together, kept).output()
        return x

    def _kept_weights(self, x: Tensor) -> list["_Kept"]:
        """Return what is kept for each block: nothing yet in training, or where gradients are asked for.

        It is dropped when a parameter or statistic has changed, and for images of another size or type than ``x``.
        """
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return [_Kept(), _Kept(), _Kept()]
        versions = [tensor._version for tensor in (*self.network.parameters(), *self.network.buffers())]
        state = [*versions, *x.shape[1:], hash(x.dtype), hash(x.device)]
        if self._kept[0] != state:
            self._kept = (state, [_Kept(), _Kept(), _Kept()])
        return self._kept[1]

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (N, classes) of the third block's output."""
        return self.network.classify(features, self.processes)


def channels_last(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) whose strides say that channels are last.

    The strides of single-channel images fit both layouts. A concatenation with channels-last maps then comes out
    channels-first, and is copied before and after each convolution.
    """
    n, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1).flatten(1)
    return pixels.view(n, height, width, channels).permute(0, 3, 1, 2)


class _Kept:
    """What follows from the weights alone, by name."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[], _Value]) -> _Value:
        """Return what was kept as ``name``; at first, what ``compute`` returns."""
        if name not in self._values:
            self._values[name] = compute()
        value: _Value = self._values[name]
        return value


class _FusedBlock:
    """``block`` for a batch x (N, c, H, W): its distinct tensors, each in one part or two, their moments, its norms."""

    def __init__(self, block: MKBlock, x: Tensor, together: bool, kept: _Kept) -> None:
        self.block, self.together, self.kept = block, together, kept
        self.ones = torch.ones_like(x[:, :1], memory_format=torch.channels_last)
        self.tensors = {"x": [x]}
        self.moments: dict[str, Moments | None] = {}
        self.norms: dict[str, Affine] = {}

    def output(self) -> Tensor:
        """Return the output (N, 24, H // 2, W // 2)."""
        block, (x,) = self.block, self.tensors["x"]
        for name in _WIDE[1:]:
            self.tensors[name] = [block.conv(name)(x).relu_()]
        narrow, wide = self._concatenated("bn_3_5"), self._concatenated("bn_3_5_7")
        self._measure(_WIDE, *(self.tensors[name][0] for name in _WIDE))
        self._fold("bn_3", "bn_3_5", "bn_3_5_7")

        (s3,) = self.tensors["stage1_3x3"]
        of_s3 = partial(_affine_weights, block.conv("stage2_3x3"), s3, *self.norms["bn_3"])
        weight, shift = self.kept.once("stage2_3x3", of_s3)
        t3 = (functional.conv2d(s3, weight, padding="same") + shift).relu_()
        # Together, two kernels of one size leave fewer lanes unused.
        fives = "stage2_5x5", "stage2_5x5_from_3x3"
        (both,), sevens = self._convolved(narrow, *fives), self._convolved(wide, "stage2_7x7")
        self._measure(("stage2_3x3", *fives, "stage2_7x7"), t3, both, *sevens)
        of_n3 = self.moments["stage1_3x3"]
        if of_n3 is not None:
            of_n3 = Moments(block.norm("bn_3").bias, self.norms["bn_3"].s.square() * of_n3.var, of_n3.count)
        self.moments["bn_3"] = of_n3
        self._fold("bn_stage2_5_7", "bn_stage2_3")

        t5, t53 = both.split([block.widths[name] for name in fives], 1)
        self.tensors["stage2_5x5"], self.tensors["stage2_7x7"] = [t5], sevens
        late = self._concatenated("bn_stage2_5_7")
        (u,) = self._convolved(late, "stage3_3x3")
        self._measure(("stage3_3x3",), u)
        self._fold("bn_stage3")

        weights, bias = self.kept.once("project_1x1", self._projection)
        projected = functional.conv2d(wide, weights[0], bias)
        for z, weight in zip((late, t3, t53, u), weights[1:], strict=True):
            projected = projected + functional.conv2d(z, weight)
        projected = projected.relu_()
        self._measure(("bn_out",), projected)
        s, t = self.kept.once("bn_out", partial(affine, block.bn_out, self.moments["bn_out"]))
        return functional.max_pool2d(scaled(projected, s, t), 2)

    def _concatenated(self, norm: str) -> Tensor:
        """Return what ``norm`` normalises, and a channel of ones after it."""
        return torch.cat([*(part for name in NORMS[norm] for part in self.tensors[name]), self.ones], 1)

    def _measure(self, names: tuple[str, ...], *tensors: Tensor) -> None:
        """Note the moments of the tensors ``names``, which are the channels of ``tensors``."""
        widths = {name: self.block.widths[name] for name in names}
        self.moments.update(moments_of(self.block.training, self.together, tensors, widths))

    def _fold(self, *names: str) -> None:
        """Note the norms ``names`` as affine maps."""
        for name in names:
            parts = (self.moments[read] for read in NORMS[name])
            self.norms[name] = self.kept.once(name, partial(affine, self.block.norm(name), *parts))

    def _convolved(self, z: Tensor, *names: str) -> list[Tensor]:
        """Return the rectified convolutions ``names`` of z, in one part or two; z is what the first reads, and ones."""
        (weight, bias), *left_over = self.kept.once(names[0], partial(self._weights, z, *names))
        outputs = [functional.conv2d(z, weight, bias, padding="same").relu_()]
        return outputs + [_by_rows(z, *part).relu_() for part in left_over]

    def _weights(self, z: Tensor, *names: str) -> list[tuple[Tensor, Tensor]]:
        """Return weights and bias of ``_convolved``, whose kernels have one size; for a CPU, perhaps in two parts."""
        whole, biases, inputs = [], [], NORMS[CONVS[names[0]].reads]
        for name in names:
            stage, norm = self.block.conv(name), CONVS[name].reads
            s, t = self.norms[norm]
            begin = sum(self.block.widths[read] for read in inputs[: inputs.index(NORMS[norm][0])])
            of_z = functional.pad(stage.weight * s[:, None, None], (0, 0, 0, 0, begin, z.shape[1] - 1 - begin - len(s)))
            of_ones = (stage.weight * t[:, None, None]).sum(1, keepdim=True)
            assert stage.bias is not None
            whole.append(torch.cat([of_z, of_ones], 1))
            biases.append(stage.bias)
        weight, bias = torch.cat(whole).contiguous(memory_format=torch.channels_last), torch.cat(biases)
        left_over, side = len(weight) % _LANES, weight.shape[2]
        if z.device.type == "cpu" and 0 < left_over * side <= _LANES:
            full = len(weight) - left_over
            return [(weight[:full], bias[:full]), (weight[full:], bias[full:])]
        return [(weight, bias)]

    def _projection(self) -> tuple[list[Tensor], Tensor]:
        """Return the weights of the projection for two concatenations and the tensors ``_ALONE``, and its bias."""
        weights, bias = projection_of(self.block, self.norms)
        nothing = bias.new_zeros(len(bias), 1)  # of the ones, and of x where it is read from the other concatenation
        of_wide = torch.cat([*(weights[name] for name in _WIDE), nothing], 1)
        no_x = nothing.expand(-1, self.block.widths["x"])
        of_late = torch.cat([no_x, *(weights[name] for name in _LATE[1:]), nothing], 1)
        every = (of_wide, of_late, *(weights[name] for name in _ALONE))
        return [weight[:, :, None, None] for weight in every], bias


def projection_of(block: MKBlock, norms: Mapping[str, Affine]) -> tuple[dict[str, Tensor], Tensor]:
    """Return the projection of ``block`` with the ``norms`` before it folded in.

    That is a weight (24, channels) for each of the tensors ``DISTINCT``, and the bias (24,).
    """
    widths, bias = block.widths, block.project_1x1.bias
    assert bias is not None
    by_read = block.project_1x1.weight[:, :, 0, 0].split([widths[name] for name in PROJECTED], 1)
    weights = dict(zip(PROJECTED, by_read, strict=True))
    for norm in PROJECTED[1:]:  # bn_3 comes after bn_stage2_3, which reads it
        of_norm, (s, t) = weights.pop(norm), norms[norm]
        bias = bias + of_norm @ t
        for name, part in zip(NORMS[norm], (of_norm * s).split([widths[name] for name in NORMS[norm]], 1), strict=True):
            weights[name] = weights[name] + part if name in weights else part
    return weights, bias


def _affine_weights(stage: nn.Conv2d, z: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights that ``stage`` of ``s·z + t`` has for z, and a map that knows where padding cuts ``t`` off."""
    ones = z.new_ones(1, 1, *z.shape[2:])
    shift = functional.conv2d(ones, (stage.weight * t[:, None, None]).sum(1, keepdim=True), stage.bias, padding="same")
    return stage.weight * s[:, None, None], shift


def _by_rows(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return a convolution of z with few outputs: every row of a kernel is an output at first, then they are added."""
    outputs, channels, side = weight.shape[:3]
    along = weight.transpose(1, 2).reshape(outputs * side, channels, 1, side)
    rows = functional.conv2d(z, along.contiguous(memory_format=torch.channels_last), padding=(0, side // 2))
    # The value of a kernel's row is wanted as many pixels below or above as the row is from the kernel's middle.
    every_row = torch.eye(outputs * side, dtype=weight.dtype, device=weight.device)
    down = every_row.view(outputs, side, outputs * side).transpose(1, 2).unsqueeze(3)
    return functional.conv2d(rows, down, bias, padding=(side // 2, 0))
