"""The smallest rival: a plain network of two convolutions, which learns much in little time."""

from torch import Tensor, nn

from lrnet_cli.errors import UsageError

_LEAST_SIDE = 4  # pixels: two poolings leave one
_CHANNELS, _HIDDEN_UNITS = (32, 64), 128


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
