"""LR-Net with its statistics frozen into plain convolutions, the form that eight-bit integers can hold.

A quantised convolution knows its input by a single step size, and each row of its weights by another. Two things make
that fit LR-Net, and neither changes the function:

- Every norm, that of the output as well, is folded into what reads it. What is written are outputs of ReLU as they
  are. Shifts reach the border by a channel of ones, as in the fused network.
- ``equalise`` scales each channel to the range 0 to 1, and the weights that read it by the opposite. Before, a step
  that fits the widest channel leaves nothing of those a hundred times as narrow.

Weights are then rounded one column after the other, and the columns not yet rounded make up for what the others lost,
as far as the inputs correlate; of neighbouring pixels they do (Frantar and others 2022, arXiv:2210.17323). Rounding
each weight by itself changes several times as many labels.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from lrnet_cli.models.fused import projection_of
from lrnet_cli.models.lrnet import LRNet, MKBlock
from lrnet_cli.models.moments import Affine, affine

LEVELS = 127  # steps on either side of zero that a weight can take
FIRST = ("s3", "s5", "s7")  # what reads a block's input; in the first block, pictures that 256 levels do not fit
# What each convolution reads. In this order they run.
_READS = {
    "s3": ("input", "ones"),
    "s5": ("input", "ones"),
    "s7": ("input", "ones"),
    "t3": ("s3", "ones"),
    "t53": ("s3", "ones"),
    "t5": ("x", "s3", "s5", "ones"),
    "t7": ("x", "s3", "s5", "s7", "ones"),
    "u": ("x", "t5", "t7", "ones"),
    "p": ("x", "s3", "s5", "s7", "t5", "t7", "t3", "t53", "u"),
}
_LEAST_RANGE = 1e-3  # of the widest channel; below, a channel counts as unused
_PLACES = 16  # of each picture, at which a convolution's inputs are looked at
_DAMPING = 0.01  # of the mean square of the inputs
_COLUMNS = 128  # whose errors are passed on to the others together


class FrozenLRNet(nn.Module):
    """The function of ``network`` in evaluation mode for inputs from ``low`` to ``high``.

    It takes floats (N, C, S, S) and returns logits (N, classes). Its convolutions are copies; the fully connected
    layers are the network's own.
    """

    def __init__(self, network: LRNet, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.low, self.range = low, high - low
        ones = torch.ones(network.block1.stage1_3x3.in_channels)
        read, blocks = Affine(self.range * ones, low * ones), list[_FrozenBlock]()
        for block in (network.block1, network.block2, network.block3):
            blocks.append(_FrozenBlock(block, read, is_first=not blocks))
            out = affine(block.bn_out)
            read = Affine(out.s.detach().abs(), out.t.detach())
        self.blocks = nn.ModuleList(blocks)
        self.classify = network.classify
        self.s, self.t = (nn.Parameter(value[:, None, None].clone()) for value in read)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S)."""
        x = self._start(images)
        for block in self._blocks():
            x = block(x)
        return self.classify(x * self.s + self.t)

    @torch.no_grad()
    def equalise(self, images: Tensor) -> None:
        """Scale every channel so that its largest value for ``images``, floats (N, C, S, S), is one, and end it there.

        Then all tensors of a concatenation have the same step, and none is rounded twice.
        """
        x, readers = self._start(images), [*self._blocks()][1:]
        for block in self._blocks():
            found = block.tensors(x)
            scales = {name: _range_of(found[name]) for name, _ in block.named()}
            block.divide(scales)
            block.most = 1.0
            x = block.output(found) / scales["p"][:, None, None]
            if readers:
                readers.pop(0).read_scaled({"input": scales["p"], "x": scales["p"]})
            else:
                self.s.mul_(scales["p"][:, None, None])

    @torch.no_grad()
    def round_weights(self, images: Tensor) -> None:
        """Round the weights of every convolution to ``LEVELS``, each as it serves ``images``, floats (N, C, S, S).

        Each makes up for what those before it lost, and for what integers lose of its input. The ``FIRST`` of the first
        block stay as they are.
        """
        exact = x = self._start(images)
        generator = torch.Generator().manual_seed(0)
        for block in self._blocks():
            wanted, found = block.tensors(exact), block.start(x)
            for name, conv in block.named():
                given = block.given(name, found)
                if not (block.is_first and name in FIRST):
                    places, rows = _places(given, generator), conv.weight.permute(0, 2, 3, 1)
                    inputs, exact_inputs = (
                        _patches(z, conv.weight.shape[-1], places) for z in (given, block.given(name, wanted))
                    )
                    rounded = _rounded(rows.flatten(1), inputs, exact_inputs)
                    conv.weight.copy_(rounded.view(rows.shape).permute(0, 3, 1, 2))
                found[name] = _in_steps(conv(given).clamp(0.0, block.most))
            exact, x = block.output(wanted), block.output(found)

    def _start(self, images: Tensor) -> Tensor:
        return (images - self.low) / self.range

    def _blocks(self) -> Iterator["_FrozenBlock"]:
        for block in self.blocks:
            assert isinstance(block, _FrozenBlock)
            yield block


class _FrozenBlock(nn.Module):
    """One block, whose input is ``read.s·x + read.t``, and whose output still lacks the affine map of ``bn_out``."""

    def __init__(self, block: MKBlock, read: Affine, *, is_first: bool) -> None:
        super().__init__()
        c = len(read.s)
        self.is_first = is_first

        def of_x(norm: Affine) -> Affine:
            """Return ``norm``, of a concatenation that begins with the input, as one of x itself."""
            s, t = norm.s[:c], norm.t[:c]
            return Affine(torch.cat([s * read.s, norm.s[c:]]), torch.cat([s * read.t + t, norm.t[c:]]))

        n3, n35, n357 = affine(block.bn_3), affine(block.bn_3_5), affine(block.bn_3_5_7)
        n57, m3, n4 = affine(block.bn_stage2_5_7), affine(block.bn_stage2_3), affine(block.bn_stage3)
        self.widths = {"input": c, "x": c, "ones": 1, "s3": 48, "s5": 24, "s7": 12}
        self.widths |= {"t3": 48, "t53": 24, "t5": 36, "t7": 18, "u": 72}
        self.convs = nn.ModuleDict(
            {
                "s3": _conv_of(block.stage1_3x3, read),
                "s5": _conv_of(block.stage1_5x5, read),
                "s7": _conv_of(block.stage1_7x7, read),
                "t3": _conv_of(block.stage2_3x3, n3),
                "t53": _conv_of(block.stage2_5x5_from_3x3, n3),
                "t5": _conv_of(block.stage2_5x5, of_x(n35)),
                "t7": _conv_of(block.stage2_7x7, of_x(n357)),
                "u": _conv_of(block.stage3_3x3, of_x(n57)),
            }
        )
        parts, bias = projection_of(block, c, n3, n35, n357, n57, m3, n4)
        bias = bias + parts["x"] @ read.t
        parts["x"] = parts["x"] * read.s
        self.convs["p"] = _conv(torch.cat([parts[name] for name in _READS["p"]], 1)[:, :, None, None], bias)
        self.most: float | None = None  # that a tensor can hold
        negative = block.bn_out.weight.detach() < 0  # of these, the smallest is what pooling keeps
        self.sign = nn.Parameter(1 - 2 * negative[:, None, None].float()) if negative.any() else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (N, 24, H // 2, W // 2) of x (N, c, H, W)."""
        return self.output(self.tensors(x))

    def start(self, x: Tensor) -> dict[str, Tensor]:
        """Return what the convolutions find: the input as it is, the same as integers hold it, and ones."""
        return {"input": x, "x": x.clamp(0.0, 1.0) if self.is_first else x, "ones": torch.ones_like(x[:, :1])}

    def given(self, name: str, found: dict[str, Tensor]) -> Tensor:
        """Return the input of the convolution ``name``."""
        return torch.cat([found[read] for read in _READS[name]], 1)

    def tensors(self, x: Tensor) -> dict[str, Tensor]:
        """Return every tensor of the block by its name."""
        found = self.start(x)
        for name, conv in self.named():
            found[name] = conv(self.given(name, found)).clamp(0.0, self.most)
        return found

    def named(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """Yield the convolutions, each with the name of what it gives, in the order in which they run."""
        for name, conv in self.convs.items():
            assert isinstance(conv, nn.Conv2d)
            yield name, conv

    def output(self, found: dict[str, Tensor]) -> Tensor:
        """Return what the block gives to the next, (N, 24, H // 2, W // 2)."""
        return functional.max_pool2d(found["p"] if self.sign is None else found["p"] * self.sign, 2)

    def divide(self, scales: dict[str, Tensor]) -> None:
        """Divide what the convolutions give by ``scales``, (channels,) each, and undo it in what reads it."""
        for name, conv in self.named():
            conv.weight.div_(scales[name][:, None, None, None])
            assert conv.bias is not None
            conv.bias.div_(scales[name])
        self.read_scaled(scales)

    def read_scaled(self, scales: dict[str, Tensor]) -> None:
        """Take the tensors named in ``scales`` for divided by them."""
        for name, conv in self.named():
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


def _in_steps(z: Tensor) -> Tensor:
    """Return z in [0, 1] as eight bits hold it."""
    return (z * 255).round() / 255


def _places(z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return rows and columns, (N, places, 1, 1) each, drawn for each picture of z (N, channels, H, W)."""
    n, _, height, width = z.shape
    down, right = (torch.randint(side, (n, _PLACES, 1, 1), generator=generator) for side in (height, width))
    return down, right


def _patches(z: Tensor, kernel_size: int, places: tuple[Tensor, Tensor]) -> Tensor:
    """Return what a convolution of z (N, channels, H, W) sees at ``places``: (M, features).

    The features are in the order row, column, channel.
    """
    padded, step = functional.pad(z, 4 * [kernel_size // 2]), torch.arange(kernel_size)
    pictures, (down, right) = torch.arange(len(z))[:, None, None, None], places
    return padded[pictures, :, down + step[:, None], right + step].flatten(0, 1).flatten(1)


def _rounded(weight: Tensor, inputs: Tensor, exact: Tensor) -> Tensor:
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
    left, found = weight.clone(), torch.zeros_like(weight)
    largest, place = weight.abs().max(1)
    step = (largest / LEVELS).clamp(min=torch.finfo(weight.dtype).tiny)
    for start in range(0, weight.shape[1], _COLUMNS):
        columns = range(start, min(start + _COLUMNS, weight.shape[1]))
        stop, errors = columns.stop, []
        for column in columns:
            nearest = (left[:, column] / step).round().clamp(-LEVELS, LEVELS) * step
            found[:, column] = torch.where(place == column, weight[:, column], nearest)
            errors.append((left[:, column] - found[:, column]) / spread[column, column])
            left[:, column + 1 : stop] -= errors[-1][:, None] * spread[column, column + 1 : stop]
        left[:, stop:] -= torch.stack(errors, 1) @ spread[start:stop, stop:]
    return found
