"""What the convolutions of a network give for an image: the space in which images are compared without labels."""

import threading

import torch
from torch import Tensor, nn

from lrnet_cli.errors import WeightsError

_MOST_FEATURES = 2048  # of an image; neighbouring ones of more are averaged


class WithFeatures(nn.Module):
    """``network`` with its logits followed by its features, the input of its first fully connected layer.

    These still know where in the image something is, and serve for classes that the network was not trained on; of
    several networks in one they are those of the first. Raises ``WeightsError`` for a network without such a layer,
    such as an exported one.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise WeightsError("An exported network shows no features; give the weight file that it was exported from.")
        self.network = network
        self._seen = threading.local()  # batches are worked on in several threads
        for layer in layers:  # the first that is called keeps its input, which need not be the first by name
            layer.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if getattr(self._seen, "features", None) is None:
            self._seen.features = inputs[0]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits and features, float32 (N, classes + features), of floats (N, C, S, S) in [0, 1]."""
        self._seen.features = None
        logits = self.network(images)
        # The layer's input may be padded with rows.
        features = self._seen.features[: len(images)].flatten(1).float()
        if features.shape[1] > _MOST_FEATURES:
            features = nn.functional.adaptive_avg_pool1d(features[:, None], _MOST_FEATURES)[:, 0]
        return torch.cat([logits.float(), features], 1)
