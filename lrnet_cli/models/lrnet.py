"""LR-Net, the network of Ganj, Ebadpour, Darvish and Bahador (2023), doi:10.1007/s40998-023-00618-5.

Three MK ("multi-kernel") blocks, each ending in 2×2 max pooling, then five fully connected layers.
"""

import torch
from torch import Tensor, nn

from lrnet_cli.errors import UsageError
from lrnet_cli.models.rows import padded_rows
from lrnet_cli.processes import ALONE, Processes

MINIMUM_IMAGE_SIZE = 8  # three poolings leave one pixel
_BLOCK_CHANNELS = 24
_HIDDEN_UNITS = (256, 128, 128, 64)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MKBlock(nn.Module):
    """One multi-kernel block: floats (N, ``channels``, H, W) in, (N, 24, H // 2, W // 2) out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.stage1_3x3 = _conv(c, 48, 3)
        self.stage1_5x5 = _conv(c, 24, 5)
        self.stage1_7x7 = _conv(c, 12, 7)
        self.stage2_3x3 = _conv(48, 48, 3)
        self.stage2_5x5_from_3x3 = _conv(48, 24, 5)
        self.stage2_5x5 = _conv(c + 72, 36, 5)
        self.stage2_7x7 = _conv(c + 84, 18, 7)
        self.stage3_3x3 = _conv(c + 54, 72, 3)
        self.project_1x1 = _conv(c + (c + 120) + 48 + (c + 72) + (c + 84) + (c + 54) + 72, _BLOCK_CHANNELS, 1)
        self.bn_3 = _norm(48)
        self.bn_3_5 = _norm(c + 72)
        self.bn_3_5_7 = _norm(c + 84)
        self.bn_stage2_5_7 = _norm(c + 54)
        self.bn_stage2_3 = _norm(c + 120)
        self.bn_stage3 = _norm(72)
        self.bn_out = _norm(_BLOCK_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (N, 24, H // 2, W // 2)."""
        s3 = self.stage1_3x3(x).relu()
        s5 = self.stage1_5x5(x).relu()
        s7 = self.stage1_7x7(x).relu()
        n3 = self.bn_3(s3)
        n35 = self.bn_3_5(torch.cat([x, s3, s5], 1))
        n357 = self.bn_3_5_7(torch.cat([x, s3, s5, s7], 1))
        m57 = self.bn_stage2_5_7(torch.cat([x, self.stage2_5x5(n35).relu(), self.stage2_7x7(n357).relu()], 1))
        m3 = self.bn_stage2_3(torch.cat([x, self.stage2_3x3(n3).relu(), self.stage2_5x5_from_3x3(n3).relu(), n3], 1))
        n4 = self.bn_stage3(self.stage3_3x3(m57).relu())
        projected = self.project_1x1(torch.cat([x, m3, n3, n35, n357, m57, n4], 1)).relu()
        return nn.functional.max_pool2d(self.bn_out(projected), 2)


class LRNet(nn.Module):
    """LR-Net for pictures of ``in_channels`` × ``image_size`` × ``image_size`` with values in [0, 1].

    ``dropout`` is the share of units dropped after each of the four hidden fully connected layers (the paper: 0.3).
    Weights start Glorot-uniform from PyTorch's global generator, biases at zero.

    Raises ``UsageError`` for a picture under 8 pixels, or fewer than one channel or two classes.
    """

    def __init__(
        self, in_channels: int = 1, image_size: int = 28, num_classes: int = 10, *, dropout: float = 0.3
    ) -> None:
        super().__init__()
        if image_size < MINIMUM_IMAGE_SIZE:
            raise UsageError(
                f"LR-Net needs pictures of at least {MINIMUM_IMAGE_SIZE} pixels per side, got {image_size}."
            )
        if in_channels < 1 or num_classes < 2:
            raise UsageError(f"LR-Net needs a channel and two classes, got {in_channels} and {num_classes}.")
        self.image_size = image_size
        self.block1 = MKBlock(in_channels)
        self.block2 = MKBlock(_BLOCK_CHANNELS)
        self.block3 = MKBlock(_BLOCK_CHANNELS)
        features = _BLOCK_CHANNELS * (image_size // 8) ** 2
        widths = (features, *_HIDDEN_UNITS)
        self.fc1, self.fc2, self.fc3, self.fc4 = (
            nn.Linear(before, after) for before, after in zip(widths, _HIDDEN_UNITS, strict=False)
        )
        self.dropout = dropout
        self.out = nn.Linear(_HIDDEN_UNITS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # every layer here has a bias

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
        x = padded_rows(features.flatten(1))
        for hidden in (self.fc1, self.fc2, self.fc3, self.fc4):
            x = hidden(x).relu()
            if self.training and self.dropout:
                drawn = torch.rand(len(x) * processes.count, x.shape[1], device=x.device)
                x = x * (processes.own_rows(drawn) >= self.dropout) / (1 - self.dropout)
        logits: Tensor = self.out(x)[: len(features)]
        return logits
