"""LR-Net as plain convolutions without batch norms, the form that eight-bit integers can hold.

A quantised convolution knows its input by a single step size, and each row of its weights by another. Two things make
that fit LR-Net, and neither changes the function:

- Every norm, that of the output as well, is folded into the convolutions that read it, so that all tensors are outputs
  of ReLU. Shifts reach the border by a channel of ones, as in the fused network.
- ``equalize_channels`` scales each channel to the range 0 to 1, and the weights that read it by the inverse. Without
  this, a step size for the widest channel rounds the narrow ones to zero.

Weights are then rounded one column after the other, and the columns not yet rounded make up for what the others lost,
as far as the inputs correlate; those of neighbouring pixels do (Frantar and others 2022, arXiv:2210.17323). Rounding
each weight by itself changes several times as many labels.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnet_cli.models.fused import DISTINCT, projection_of
from lrnet_cli.models.lrnet import CONVS, NORMS, LRNet, MKBlock
from lrnet_cli.models.moments import Affine, affine

LEVELS = 127  # steps on either side of zero that a weight can take
FIRST = tuple(name for name, conv in CONVS.items() if conv.reads == "x")  # in block 1 they read what 8 bits do not fit
# The tensors that each convolution reads, in the order in which they run. "input" is a block's input as it is, "x" the
# same as integers hold it.
_READS = {name: (*NORMS.get(conv.reads, ("input",)), "ones") for name, conv in CONVS.items()}
_READS["project_1x1"] = DISTINCT
_LEAST_RANGE = 1e-3  # of the widest channel; below, a channel counts as unused
_SAMPLED = 16  # positions of each image, whose inputs calibrate a convolution's weights
_DAMPING = 0.01  # of the mean square of the inputs
_COLUMNS = 128  # whose errors are passed on to the others together


class QuantizableLRNet(nn.Module):
    """The function of ``network`` in evaluation mode for inputs from ``low`` to ``high``.

    It takes floats (N, C, S, S) and returns logits (N, classes). Its convolutions are copies; the fully connected
    layers are the network's own.
    """

    def __init__(self, network: LRNet, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.low, self.range = low, high - low
        ones = torch.ones(network.block1.widths["x"])
        scale, blocks = Affine(self.range * ones, low * ones), list[_QuantizableBlock]()
        for block in (network.block1, network.block2, network.block3):
            blocks.append(_QuantizableBlock(block, scale, is_first=not blocks))
            out = affine(block.bn_out)
            scale = Affine(out.s.detach().abs(), out.t.detach())
        self.blocks = nn.ModuleList(blocks)
        self.classify = network.classify
        self.s, self.t = (nn.Parameter(value[:, None, None].clone()) for value in scale)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S)."""
        logits: Tensor = self.classify(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return the third block's output, (N, 24, S // 8, S // 8)."""
        x = self._scaled(images)
        for block in self._blocks():
            x = block(x)
        return x * self.s + self.t

    @torch.no_grad()
    def equalize_channels(self, images: Tensor) -> None:
        """Scale every channel so that its largest value for ``images``, floats (N, C, S, S), is one, and clip it there.

        Then all tensors of a concatenation have the same step, and none is rounded twice.
        """
        x, readers = self._scaled(images), [*self._blocks()][1:]
        for block in self._blocks():
            tensors = block.tensors(x)
            scales = {name: _range_of(tensors[name]) for name, _ in block.named_convs()}
            block.scale_outputs(scales)
            block.upper_bound = 1.0
            of_output = scales["project_1x1"]
            x = block.output(tensors) / of_output[:, None, None]
            if readers:
                readers.pop(0).scale_inputs({"input": of_output, "x": of_output})
            else:
                self.s.mul_(of_output[:, None, None])

    @torch.no_grad()
    def gptq_round(self, images: Tensor) -> None:
        """Round the weights of every convolution to ``LEVELS``, calibrated with ``images``, floats (N, C, S, S).

        Each makes up for what those before it lost, and for what integers lose of its input. The ``FIRST`` of the first
        block stay as they are.
        """
        exact = x = self._scaled(images)
        generator = torch.Generator().manual_seed(0)
        for block in self._blocks():
            exact_tensors, tensors = block.tensors(exact), block.inputs(x)
            for name, conv in block.named_convs():
                z = block.concatenated(name, tensors)
                if not (block.is_first and name in FIRST):
                    rows, exact_z = conv.weight.permute(0, 2, 3, 1), block.concatenated(name, exact_tensors)
                    rounded = _gptq(rows.flatten(1), *_patches(rows.shape[1], generator, z, exact_z))
                    conv.weight.copy_(rounded.view(rows.shape).permute(0, 3, 1, 2))
                tensors[name] = (conv(z).clamp(0.0, block.upper_bound) * 255).round() / 255  # as eight bits hold it
            exact, x = block.output(exact_tensors), block.output(tensors)

    def _scaled(self, images: Tensor) -> Tensor:
        return (images - self.low) / self.range

    def _blocks(self) -> Iterator["_QuantizableBlock"]:
        for block in self.blocks:
            assert isinstance(block, _QuantizableBlock)
            yield block


class _QuantizableBlock(nn.Module):
    """``block`` with the input ``scale.s·x + scale.t``, whose output still lacks the affine map of ``bn_out``."""

    def __init__(self, block: MKBlock, scale: Affine, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.widths = block.widths | {"input": block.widths["x"], "ones": 1}
        self.upper_bound: float | None = None  # of every tensor
        norms = {name: affine(block.norm(name)) for name in NORMS}
        self.convs = nn.ModuleDict()
        for name, conv in CONVS.items():
            read = scale if conv.reads == "x" else norms[conv.reads]
            if "x" in NORMS.get(conv.reads, ()):  # then it comes first
                (s, s_later), (t, t_later) = (values.tensor_split([len(scale.s)]) for values in read)
                read = Affine(torch.cat([s * scale.s, s_later]), torch.cat([s * scale.t + t, t_later]))
            self.convs[name] = _conv_of(block.conv(name), read)
        weights, bias = projection_of(block, norms)
        bias = bias + weights["x"] @ scale.t
        weights["x"] = weights["x"] * scale.s
        self.convs["project_1x1"] = _conv(torch.cat([weights[name] for name in DISTINCT], 1)[:, :, None, None], bias)
        negative = block.bn_out.weight.detach() < 0  # of these, the smallest is what pooling keeps
        self.sign = nn.Parameter(1 - 2 * negative[:, None, None].float()) if negative.any() else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (N, 24, H // 2, W // 2) of x (N, c, H, W)."""
        return self.output(self.tensors(x))

    def named_convs(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """Yield the convolutions with their names, in the order in which they run."""
        for name, conv in self.convs.items():
            assert isinstance(conv, nn.Conv2d)
            yield name, conv

    def inputs(self, x: Tensor) -> dict[str, Tensor]:
        """Return the tensors that there are before any convolution."""
        return {"input": x, "x": x.clamp(0.0, 1.0) if self.is_first else x, "ones": torch.ones_like(x[:, :1])}

    def concatenated(self, name: str, tensors: dict[str, Tensor]) -> Tensor:
        """Return the input of the convolution ``name``."""
        return torch.cat([tensors[read] for read in _READS[name]], 1)

    def tensors(self, x: Tensor) -> dict[str, Tensor]:
        """Return every tensor of the block, the output of a convolution by its name."""
        tensors = self.inputs(x)
        for name, conv in self.named_convs():
            tensors[name] = conv(self.concatenated(name, tensors)).clamp(0.0, self.upper_bound)
        return tensors

    def output(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return the block's output, (N, 24, H // 2, W // 2)."""
        projected = tensors["project_1x1"]
        return functional.max_pool2d(projected if self.sign is None else projected * self.sign, 2)

    def scale_outputs(self, scales: dict[str, Tensor]) -> None:
        """Divide the outputs of convolutions by ``scales``, (channels,) each, and undo it in what reads them."""
        for name, conv in self.named_convs():
            conv.weight.div_(scales[name][:, None, None, None])
            assert conv.bias is not None
            conv.bias.div_(scales[name])
        self.scale_inputs(scales)

    def scale_inputs(self, scales: dict[str, Tensor]) -> None:
        """Multiply the weights for the tensors named in ``scales``, which have been divided by them."""
        for name, conv in self.named_convs():
            factors = [scales.get(read, torch.ones(self.widths[read])) for read in _READS[name]]
            conv.weight.mul_(torch.cat(factors)[:, None, None])


def _conv_of(stage: nn.Conv2d, norm: Affine) -> nn.Conv2d:
    """Return the convolution ``stage`` of ``norm.s·z + norm.t``, as one of z and a channel of ones."""
    of_ones = (stage.weight * norm.t[:, None, None]).sum(1, keepdim=True)
    assert stage.bias is not None
    return _conv(torch.cat([stage.weight * norm.s[:, None, None], of_ones], 1), stage.bias)


def _conv(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
    conv.weight, conv.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return conv


def _range_of(z: Tensor) -> Tensor:
    """Return the largest size (channels,) in each channel of z (N, channels, H, W); of unused ones, a small number."""
    widest = z.abs().amax((0, 2, 3))
    return widest.clamp(min=max(_LEAST_RANGE * float(widest.max()), torch.finfo(z.dtype).tiny))


def _patches(side: int, generator: torch.Generator, *tensors: Tensor) -> Iterator[Tensor]:
    """Yield what a convolution reads of each of ``tensors`` (N, channels, H, W) at positions drawn in each image.

    That is (M, features), in the order row, column, channel.
    """
    n, _, height, width = tensors[0].shape
    down, right = (torch.randint(end, (n, _SAMPLED, 1, 1), generator=generator) for end in (height, width))
    images, step = torch.arange(n)[:, None, None, None], torch.arange(side)
    for z in tensors:
        padded = functional.pad(z, 4 * [side // 2])
        yield padded[images, :, down + step[:, None], right + step].flatten(0, 1).flatten(1)


def _gptq(weight: Tensor, inputs: Tensor, exact: Tensor) -> Tensor:
    """Return ``weight`` (rows, features) as multiples of a step for each row.

    For ``inputs`` (M, features) they give nearly what ``weight`` gives for ``exact``, what the inputs should have been.
    The largest weight of each row keeps its value, so that the step can be found again.
    """
    products = inputs.T @ inputs
    products.diagonal().add_(_DAMPING * products.diagonal().mean() + torch.finfo(products.dtype).tiny)
    factor = torch.linalg.cholesky(products)
    missing = (exact - inputs) @ weight.T
    weight = weight + torch.cholesky_solve(inputs.T @ missing, factor).T
    spread = torch.linalg.cholesky(torch.cholesky_inverse(factor), upper=True)
    remaining, rounded = weight.clone(), torch.zeros_like(weight)
    largest, index = weight.abs().max(1)
    step = (largest / LEVELS).clamp(min=torch.finfo(weight.dtype).tiny)
    for start in range(0, weight.shape[1], _COLUMNS):
        stop, errors = min(start + _COLUMNS, weight.shape[1]), []
        for column in range(start, stop):
            nearest = (remaining[:, column] / step).round().clamp(-LEVELS, LEVELS) * step
            rounded[:, column] = torch.where(index == column, weight[:, column], nearest)
            errors.append((remaining[:, column] - rounded[:, column]) / spread[column, column])
            remaining[:, column + 1 : stop] -= errors[-1][:, None] * spread[column, column + 1 : stop]
        remaining[:, stop:] -= torch.stack(errors, 1) @ spread[start:stop, stop:]
    return rounded
