"""Networks by name, as ``--arch`` and weight files call them."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import get_args

import torch
from torch import nn

from lrnet_cli.errors import UsageError
from lrnet_cli.models.baselines import Baseline
from lrnet_cli.models.lrnet import LRNet, LRNetShort
from lrnet_cli.models.plain import PlainCNN, SmallResNet
from lrnet_cli.models.summary import Summary, summarise
from lrnet_cli.settings.words import Arch

_OWN: dict[str, Callable[..., nn.Module]] = {
    "lrnet": LRNet,
    "lrnet-short": LRNetShort,
    "resnet-small": SmallResNet,
    "cnn": PlainCNN,
}
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    arch: _OWN[arch] if arch in _OWN else partial(Baseline, arch) for arch in get_args(Arch)
}


def build(arch: str, *, in_channels: int, image_size: int, num_classes: int, dropout: float = 0.0) -> nn.Module:
    """Return the network ``arch`` with fresh weights.

    It takes floats (N, ``in_channels``, ``image_size``, ``image_size``) in [0, 1] and returns logits (N,
    ``num_classes``). Raises ``UsageError`` for an unknown name or sizes that the network cannot take.
    """
    if arch not in ARCHITECTURES:
        raise UsageError(f"There is no architecture {arch!r}; choose one of: {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[arch](in_channels, image_size, num_classes, dropout=dropout)


@lru_cache
def summary_of(arch: str, in_channels: int, image_size: int, num_classes: int) -> Summary:
    """Return the layers and costs of the network ``arch``, without using memory; raises what ``build`` raises."""
    with torch.device("meta"):
        network = build(arch, in_channels=in_channels, image_size=image_size, num_classes=num_classes)
    return summarise(network, in_channels, image_size)
