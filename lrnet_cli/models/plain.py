"""The small rivals: a plain network of two convolutions, and a residual one of eight."""

from torch import Tensor, nn

from lrnet_cli.errors import UsageError

_LEAST_SIDE = 4  # pixels: two poolings leave one
_CHANNELS, _HIDDEN_UNITS = (32, 64), 128
_LEAST_RESIDUAL_SIDE, _RESIDUAL_CHANNELS = 8, (32, 64, 128)  # pixels: two poolings leave a part for each average


class PlainCNN(nn.Module):
    """Two 3×3 convolutions, each with ReLU and 2×2 max pooling, a hidden layer of 128 units, and the classes.

    It is for images of ``in_channels`` × ``image_size`` × ``image_size`` in [0, 1]; ``dropout`` is the share of units
    dropped after the hidden layer. Raises ``UsageError`` for an image under 4 pixels, or fewer than one channel or two
    classes.
    """

    def __init__(
        self, in_channels: int = 1, image_size: int = 28, num_classes: int = 10, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if in_channels < 1 or image_size < _LEAST_SIDE or num_classes < 2:
            raise UsageError(
                f"cnn needs a channel, {_LEAST_SIDE} pixels per side and two classes, got {in_channels}, {image_size} "
                f"and {num_classes}."
            )
        first, second = _CHANNELS
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding="same")
        self.conv2 = nn.Conv2d(first, second, 3, padding="same")
        self.hidden = nn.Linear(second * (image_size // 4) ** 2, _HIDDEN_UNITS)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(_HIDDEN_UNITS, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S) in [0, 1]."""
        for convolution in (self.conv1, self.conv2):
            images = nn.functional.max_pool2d(convolution(images).relu(), 2)
        logits: Tensor = self.out(self.dropout(self.hidden(images.flatten(1)).relu()))
        return logits


class SmallResNet(nn.Module):
    """A residual network of eight 3×3 convolutions with batch norms, for images of the same kinds as ``PlainCNN``'s.

    32 channels, then 64 and 128, with 2×2 max pooling and a residual pair of convolutions at each width; what is left
    is averaged over 2×2 parts of the image. ``dropout`` is the share dropped before the class layer.
    """

    def __init__(
        self, in_channels: int = 1, image_size: int = 28, num_classes: int = 10, *, dropout: float = 0.3
    ) -> None:
        super().__init__()
        if in_channels < 1 or image_size < _LEAST_RESIDUAL_SIDE or num_classes < 2:
            raise UsageError(
                f"resnet-small needs a channel, {_LEAST_RESIDUAL_SIDE} pixels per side and two classes, got "
                f"{in_channels}, {image_size} and {num_classes}."
            )
        first, second, third = _RESIDUAL_CHANNELS
        self.blocks = nn.Sequential(
            _normed_conv(in_channels, first),
            _normed_conv(first, second),
            nn.MaxPool2d(2),
            _Residual(second),
            _normed_conv(second, third),
            nn.MaxPool2d(2),
            _Residual(third),
            _normed_conv(third, third),
            nn.AdaptiveAvgPool2d(2),
        )
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(4 * third, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S) in [0, 1]."""
        logits: Tensor = self.out(self.dropout(self.blocks(images).flatten(1)))
        return logits


class _Residual(nn.Module):
    """A pair of convolutions whose output is added to their input (N, ``channels``, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pair = nn.Sequential(_normed_conv(channels, channels), _normed_conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum (N, channels, H, W)."""
        total: Tensor = x + self.pair(x)
        return total


def _normed_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())
