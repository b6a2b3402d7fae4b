"""How foreign an image is to a network: the distance of what the network gives for it from what known images give.

A Mahalanobis distance to the nearest class, with one covariance for all classes (Lee et al. 2018, arXiv:1807.03888),
over logits and, of LR-Net, a description of its third block.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.fused import FusedLRNet
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.models.quantizable import QuantizableLRNet

DESCRIPTION = 48  # numbers: two for each channel of the third block
_PASSING = 0.99  # of the validation images
_RIDGE = 1e-3  # added to the variance of every direction, which is 1 on average
_LEAST_SCALE = 1e-3  # of the outputs' deviation, for one that hardly varies within classes
_MOST_AXES = 112  # LR-Net's outputs have no more: 64 inputs of the last layer, and the description
_DIGITS = 6  # that are stored


class Described(nn.Module):
    """``network`` with its logits followed by the mean and the deviation of each channel of the third block."""

    def __init__(self, network: LRNet | FusedLRNet | QuantizableLRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits and description, float32 (N, classes + 48), of floats (N, C, S, S) in [0, 1]."""
        features = self.network.features(images)
        logits, maps = self.network.classify(features).float(), features.float().flatten(2)
        mean = maps.mean(2)
        deviation = (maps - mean[:, :, None]).square().mean(2).clamp(min=1e-12).sqrt()
        return torch.cat([logits, mean, deviation], 1)


class DescribedEnsemble(nn.Module):
    """``ensemble`` with its logits followed by the mean novelty of an image to its members."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble.each(described)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits and novelty, float32 (N, classes + 1), of floats (N, C, S, S) in [0, 1]."""
        outputs = [member(images).float() for member in self.ensemble.members]
        novelty = [one(values.cpu()) for one, values in zip(self.ensemble.novelties, outputs, strict=True)]
        logits = self.ensemble.joined(
            [
                values[:, :-DESCRIPTION] if isinstance(member, Described) else values
                for member, values in zip(self.ensemble.members, outputs, strict=True)
            ]
        )
        return torch.cat([logits, torch.stack(novelty, 1).mean(1, keepdim=True).to(logits.device)], 1)


def described(network: nn.Module) -> nn.Module:
    """Return ``network`` with what tells foreign images after its logits, or as it is if it has no such thing."""
    if isinstance(network, Ensemble):
        return DescribedEnsemble(network) if network.novelties else network
    return Described(network) if isinstance(network, LRNet | FusedLRNet | QuantizableLRNet) else network


@dataclass(frozen=True)
class Novelty:
    """The centres of known classes (K, A) along ``axes`` (outputs, A), on which outputs of one class vary by one.

    The outputs are logits, or logits followed by a description. Distances are divided by ``threshold``, so that a
    novelty of 1 is exceeded by one in a hundred known images.
    """

    axes: tuple[tuple[float, ...], ...]
    centres: tuple[tuple[float, ...], ...]
    threshold: float

    def __post_init__(self) -> None:
        axes, centres = self._tensors
        if axes.ndim != 2 or centres.ndim != 2 or axes.shape[1] != centres.shape[1] or not centres.numel():
            raise ValueError("the axes and centres of the novelty do not fit together")
        if not (axes.isfinite().all() and centres.isfinite().all() and 0 < self.threshold < float("inf")):
            raise ValueError("the novelty has numbers that are not finite, or a threshold not above 0")

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the novelty (N,) of outputs (N, outputs); above 1, an image is unlike those that are known."""
        return (_distances(outputs, *self._tensors) / self.threshold).float()

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        # In double precision, so that an image's novelty does not depend on those that it is computed with.
        return torch.tensor(self.axes, dtype=torch.float64), torch.tensor(self.centres, dtype=torch.float64)


def novelty_given(classes: int) -> Novelty:
    """Return the novelty of what gives it itself, after its logits: an ensemble or an export."""
    return Novelty(axes=((0.0,),) * classes + ((1.0,),), centres=((0.0,),), threshold=1.0)


def fit_novelty(outputs: Tensor, labels: Tensor, known: Tensor) -> Novelty:
    """Return the novelty by the outputs (N, outputs) for training images with ``labels`` (N,).

    The threshold lets 99% of the validation images, of the outputs ``known``, pass.
    """
    exact = outputs.double()
    seen = labels.unique()
    means = torch.stack([exact[labels == label].mean(0) for label in seen])
    within = exact - means[torch.searchsorted(seen, labels)]
    scale = within.square().mean(0).sqrt()  # logits and descriptions are of different sizes
    scale = scale.clamp(min=max(_LEAST_SCALE * float(exact.std(0).max()), 1e-6))
    correlated = (within / scale).T @ (within / scale) / len(within)
    variances, directions = torch.linalg.eigh(correlated)
    whitened = directions / (variances.clamp(min=0) + _RIDGE).sqrt()
    axes = (whitened / scale[:, None])[:, -_MOST_AXES:]
    centres = means @ axes
    threshold = float(_distances(known.double(), axes, centres).quantile(_PASSING))
    exactness = 10 ** (2 - _DIGITS) * float(centres.abs().max())  # distances below are those of rounding
    return Novelty(_rounded(axes), _rounded(centres), max(threshold, exactness, 1e-6))


def _distances(outputs: Tensor, axes: Tensor, centres: Tensor) -> Tensor:
    projected = outputs.to(axes.dtype) @ axes
    return torch.stack([(projected - centre).square().sum(1) for centre in centres], 1).min(1).values.sqrt()


def _rounded(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.{_DIGITS}g}") for value in row) for row in values.tolist())
