"""LR-Net's logits together with a description of what it saw, by which foreign pictures are told."""

import torch
from torch import Tensor, nn

from lrnet_cli.models.fused import FusedLRNet
from lrnet_cli.models.lrnet import LRNet

DESCRIPTION = 48  # numbers: two for each channel of the third block


class Described(nn.Module):
    """``network`` with its logits followed by the mean and the deviation of each channel of the third block."""

    def __init__(self, network: LRNet | FusedLRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits and description, float32 (N, classes + 48), of floats (N, C, S, S) in [0, 1]."""
        features = self.network.features(images)
        logits, maps = self.network.classify(features).float(), features.float().flatten(2)
        mean = maps.mean(2)
        deviation = (maps - mean[:, :, None]).square().mean(2).clamp(min=1e-12).sqrt()
        return torch.cat([logits, mean, deviation], 1)


def described(network: nn.Module) -> nn.Module:
    """Return ``network`` with a description after its logits, or as it is if it is no LR-Net."""
    return Described(network) if isinstance(network, LRNet | FusedLRNet) else network
