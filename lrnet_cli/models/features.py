"""How images are compared without labels: by what the convolutions of a network give for them, and by their edges."""

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lrnet_cli.errors import WeightsError
from lrnet_cli.memory import excess

_MOST_FEATURES = 2048  # of an image; neighbouring ones of more are averaged
_BYTES_OF_NUMBER = 16  # of a feature, in single precision, and of its copies
_SAMPLE = 10_000  # images, by which principal directions are found
_DIRECTIONS = 128  # principal ones
# Where directions count by their variance, the few that tell the labelled images apart hide what else is alike; where
# all count the same, those of mere chance hide both.
_EVENNESS = 0.7
_OF_EDGES = 0.7  # of the distance by features: a network of few images has not learned to see all that edges show


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


def excess_of_features(images: int, width: int) -> str | None:
    """Return a clause that says so if the ``width`` features of each of so many ``images`` exceed the free memory."""
    return excess(images * width * _BYTES_OF_NUMBER)


def points_of(edges: Tensor, features: Tensor | None = None) -> NDArray[np.float32]:
    """Return points (N, D) that are close where images are alike: in ``edges`` (N, E), and in ``features`` (N, F).

    ``edges`` are those of ``edges_of``, ``features`` what a network gives for the same images, if there is one.
    """
    if features is None:
        return _along_directions(edges.numpy())
    return np.concatenate([_along_directions(features.numpy()), _OF_EDGES * _along_directions(edges.numpy())], 1)


def _along_directions(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``values`` (N, F) as points of length 1 along their principal directions.

    Each value counts equally before. Only the direction of a point is kept, which differs by what is in an image and
    less by how strongly it is printed.
    """
    # By hand: scikit-learn's PCA divides by zero where there is one image, or where all are alike.
    deviations = values.std(0)
    scaled = (values - values.mean(0)) / np.where(deviations > 1e-9, deviations, 1.0)
    sample = scaled[:: -(-len(scaled) // _SAMPLE)].astype(np.float64)
    _, axes = np.linalg.eigh(sample.T @ sample)
    reduced = scaled @ axes[:, ::-1][:, : min(_DIRECTIONS, *sample.shape)].astype(np.float32)
    reduced /= np.maximum(reduced.std(0), 1e-6) ** _EVENNESS
    points: NDArray[np.float32] = reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-9)
    return points
