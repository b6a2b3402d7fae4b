"""LR-Net, the network of Ganj, Ebadpour, Darvish and Bahador (2023), doi:10.1007/s40998-023-00618-5.

Three MK ("multi-kernel") blocks, each ending in 2×2 max pooling, then five fully connected layers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lrnet_cli.errors import UsageError
from lrnet_cli.models.moments import affine, moments_of, scaled
from lrnet_cli.processes import ALONE, Processes

MINIMUM_IMAGE_SIZE = 8  # three poolings leave one pixel
_BLOCK_CHANNELS = 24
_HIDDEN_UNITS = (256, 128, 128, 64)
_SHORT_UNITS = 256
_ROWS = 16  # as many at least as a CPU's matrix product works on at a time


class Conv(NamedTuple):
    """A rectified convolution of the tensor ``reads``: ``width`` kernels of ``side`` × ``side`` pixels."""

    reads: str
    side: int
    width: int


# The wiring of an MK block. A tensor has the name of the layer that computes it, and "x" is the block's input. A layer
# is a convolution, or the batch norm of a concatenation. They run in this order.
LAYERS: dict[str, Conv | tuple[str, ...]] = {
    "stage1_3x3": Conv("x", 3, 48),
    "stage1_5x5": Conv("x", 5, 24),
    "stage1_7x7": Conv("x", 7, 12),
    "bn_3": ("stage1_3x3",),
    "bn_3_5": ("x", "stage1_3x3", "stage1_5x5"),
    "bn_3_5_7": ("x", "stage1_3x3", "stage1_5x5", "stage1_7x7"),
    "stage2_3x3": Conv("bn_3", 3, 48),
    "stage2_5x5_from_3x3": Conv("bn_3", 5, 24),
    "stage2_5x5": Conv("bn_3_5", 5, 36),
    "stage2_7x7": Conv("bn_3_5_7", 7, 18),
    "bn_stage2_5_7": ("x", "stage2_5x5", "stage2_7x7"),
    "bn_stage2_3": ("x", "stage2_3x3", "stage2_5x5_from_3x3", "bn_3"),
    "stage3_3x3": Conv("bn_stage2_5_7", 3, 72),
    "bn_stage3": ("stage3_3x3",),
}
CONVS = {name: layer for name, layer in LAYERS.items() if isinstance(layer, Conv)}
NORMS = {name: layer for name, layer in LAYERS.items() if not isinstance(layer, Conv)}
PROJECTED = ("x", "bn_stage2_3", "bn_3", "bn_3_5", "bn_3_5_7", "bn_stage2_5_7", "bn_stage3")  # which project_1x1 reads


class MKBlock(nn.Module):
    """One multi-kernel block: floats (N, ``channels``, H, W) in, (N, 24, H // 2, W // 2) out.

    ``widths`` are the channels that each layer returns.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widths = {"x": channels, "bn_out": _BLOCK_CHANNELS}
        for name, layer in LAYERS.items():
            self.widths[name] = layer.width if isinstance(layer, Conv) else sum(self.widths[read] for read in layer)
        for name, conv in CONVS.items():
            self.add_module(name, _conv(self.widths[conv.reads], conv.width, conv.side))
        self.project_1x1 = _conv(sum(self.widths[name] for name in PROJECTED), _BLOCK_CHANNELS, 1)
        for name in NORMS:
            self.add_module(name, _norm(self.widths[name]))
        self.bn_out = _norm(_BLOCK_CHANNELS)

    def conv(self, name: str) -> nn.Conv2d:
        """Return the convolution of this name in ``CONVS``."""
        conv: nn.Conv2d = getattr(self, name)
        return conv

    def norm(self, name: str) -> nn.BatchNorm2d:
        """Return the batch norm of this name in ``NORMS``."""
        norm: nn.BatchNorm2d = getattr(self, name)
        return norm

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (N, 24, H // 2, W // 2)."""
        tensors = {"x": x}
        for name, layer in LAYERS.items():
            if isinstance(layer, Conv):
                tensors[name] = self.conv(name)(tensors[layer.reads]).relu()
            else:
                read = [tensors[part] for part in layer]
                tensors[name] = self.norm(name)(torch.cat(read, 1) if len(read) > 1 else read[0])
        projected = self.project_1x1(torch.cat([tensors[name] for name in PROJECTED], 1)).relu()
        return nn.functional.max_pool2d(self.bn_out(projected), 2)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class LRNet(nn.Module):
    """LR-Net for images of ``in_channels`` × ``image_size`` × ``image_size`` with values in [0, 1].

    ``dropout`` is the share of units dropped after each of the four hidden fully connected layers (the paper: 0.3).
    Weights start Glorot-uniform from PyTorch's global generator, biases at zero.

    Raises ``UsageError`` for an image under 8 pixels, or fewer than one channel or two classes.
    """

    def __init__(
        self, in_channels: int = 1, image_size: int = 28, num_classes: int = 10, *, dropout: float = 0.3
    ) -> None:
        super().__init__()
        if image_size < MINIMUM_IMAGE_SIZE:
            raise UsageError(f"LR-Net needs images of at least {MINIMUM_IMAGE_SIZE} pixels per side, got {image_size}.")
        if in_channels < 1 or num_classes < 2:
            raise UsageError(f"LR-Net needs a channel and two classes, got {in_channels} and {num_classes}.")
        self.image_size = image_size
        self.block1 = MKBlock(in_channels)
        self.block2 = MKBlock(_BLOCK_CHANNELS)
        self.block3 = MKBlock(_BLOCK_CHANNELS)
        self.dropout = dropout
        self._add_head(_BLOCK_CHANNELS * (image_size // 8) ** 2, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # every layer here has a bias

    def _add_head(self, features: int, num_classes: int) -> None:
        widths = (features, *_HIDDEN_UNITS)
        self.fc1, self.fc2, self.fc3, self.fc4 = (
            nn.Linear(before, after) for before, after in zip(widths, _HIDDEN_UNITS, strict=False)
        )
        self.out = nn.Linear(_HIDDEN_UNITS[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S) in [0, 1]."""
        return self.classify(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Return the third block's output, (N, 24, S // 8, S // 8)."""
        features: Tensor = self.block3(self.block2(self.block1(images)))
        return features

    def classify(self, features: Tensor, processes: Processes = ALONE) -> Tensor:
        """Return logits (N, classes) of the third block's output (N, 24, S // 8, S // 8).

        Dropout draws for the global batch, of which each of ``processes`` holds an equal part.
        """
        x = _padded_rows(features.flatten(1))
        for hidden in (self.fc1, self.fc2, self.fc3, self.fc4):
            x = self._dropped(hidden(x).relu(), processes)
        logits: Tensor = self.out(x)[: features.shape[0]]  # len() would tie an export to one number of images
        return logits

    def _dropped(self, x: Tensor, processes: Processes) -> Tensor:
        if not (self.training and self.dropout):
            return x
        drawn = torch.rand(len(x) * processes.count, x.shape[1], device=x.device)
        return x * (processes.own_rows(drawn) >= self.dropout) / (1 - self.dropout)


class LRNetShort(LRNet):
    """LR-Net with a short head: one hidden layer of 256 units with a batch norm instead of four without.

    The paper's head has no norm and narrows to 64 units, which makes it slow to start and narrow for many classes.
    Arguments, inputs and outputs are those of ``LRNet``.
    """

    def _add_head(self, features: int, num_classes: int) -> None:
        self.hidden = nn.Linear(features, _SHORT_UNITS)
        self.bn_hidden = _norm(_SHORT_UNITS)
        self.out = nn.Linear(_SHORT_UNITS, num_classes)

    def classify(self, features: Tensor, processes: Processes = ALONE) -> Tensor:
        """Return logits (N, classes) of the third block's output; the norm's statistics are those of all processes."""
        x = self.hidden(_padded_rows(features.flatten(1)))[:, :, None, None]
        moments = moments_of(self.training, processes.together, (x,), {"hidden": _SHORT_UNITS})["hidden"]
        x = scaled(x, *affine(self.bn_hidden, moments)).flatten(1).relu()
        logits: Tensor = self.out(self._dropped(x, processes))[: features.shape[0]]
        return logits


def _padded_rows(x: Tensor) -> Tensor:
    """Return x (N, K), on a CPU with rows of zeros up to a multiple of 16, unless for gradients or an export.

    A matrix product on a CPU adds in another order for the rows that are left over. Padded, an image's answer does not
    depend on how many others are in its batch.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x
    return nn.functional.pad(x, (0, 0, 0, -len(x) % _ROWS))
