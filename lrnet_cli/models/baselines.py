"""The networks that LR-Net is compared with: torchvision's own, fitted to small images.

None of them was made for images a few pixels wide. Only the changes they need in order to run are made: images
smaller than a network can take are enlarged, the first convolution takes the images' channels, and the last layer has
their classes. They start from fresh weights.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lrnet_cli.errors import UsageError


@dataclass(frozen=True)
class _Fitting:
    """What a torchvision builder needs: the smallest side in pixels, its dropout's name if it has one, and the rest."""

    least_side: int
    dropout: str | None
    arguments: dict[str, Any]


# On smaller images a layer would have no pixel left, or, in ResNet-50, the last stage only one.
_FITTINGS = {
    "vgg16": _Fitting(32, "dropout", {}),
    # The auxiliary classifier needs 299 pixels to be meaningful.
    "inception_v3": _Fitting(75, "dropout", {"aux_logits": False, "init_weights": True}),
    "resnet50": _Fitting(32, None, {}),
    "alexnet": _Fitting(63, "dropout", {}),
}


class Baseline(nn.Module):
    """A network of torchvision for images of ``in_channels`` × ``image_size`` × ``image_size`` in [0, 1].

    Images under ``side`` pixels are enlarged to it, bilinearly; larger ones stay as they are. ``dropout`` is the
    share dropped before the classifier's layers, in networks with dropout.

    Raises ``UsageError`` for fewer than one channel or two classes.
    """

    def __init__(
        self, arch: str, in_channels: int = 1, image_size: int = 28, num_classes: int = 10, *, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if in_channels < 1 or image_size < 1 or num_classes < 2:
            raise UsageError(
                f"{arch} needs a channel, a pixel and two classes, got {in_channels}, {image_size} and {num_classes}."
            )
        from torchvision import models  # takes a second

        fitting = _FITTINGS[arch]
        arguments = dict(fitting.arguments)
        if fitting.dropout is not None:
            arguments[fitting.dropout] = dropout
        self.side = max(image_size, fitting.least_side)
        self.network: nn.Module = models.get_model(arch, weights=None, num_classes=num_classes, **arguments)
        if in_channels != 3:
            _replace_first_convolution(self.network, in_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of floats (N, C, S, S) in [0, 1]."""
        if images.shape[-1] < self.side:
            images = nn.functional.interpolate(images, self.side, mode="bilinear", align_corners=False)
        logits: Tensor = self.network(images)
        return logits


def _replace_first_convolution(network: nn.Module, in_channels: int) -> None:
    """Give ``network`` a first convolution of ``in_channels`` with PyTorch's default initial weights."""
    name, old = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]  # PyTorch's annotation of its own attribute is wider
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    network.set_submodule(name, new)
