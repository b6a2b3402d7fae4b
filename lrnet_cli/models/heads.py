"""What logits mean: the loss of a head, its probabilities, and the temperature that calibrates them."""

import math
from functools import partial

from torch import Tensor, nn

from lrnet_cli.settings.words import Head

_TAUGHT_TEMPERATURE = 4.0
_TEMPERATURES = (0.05, 20.0)  # the range that is searched
TEMPERATURES = tuple(2 ** (power / 20) for power in range(-40, 41))
"""Those from a quarter to four at which the losses of folds are added up."""


def head_loss(
    logits: Tensor, labels: Tensor, head: Head, smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of logits (N, classes) against labels (N,), a scalar in nats.

    Softmax: cross-entropy. Sigmoid: binary cross-entropy of each class against the rest, summed over the classes.
    ``smoothing`` is the share of the target that is spread evenly: over the classes, or over yes and no. The loss of an
    image is multiplied by that of ``class_weights`` (classes,) which its label has.
    """
    if head == "softmax":
        losses = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    else:
        targets = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        targets = targets * (1 - smoothing) + smoothing / 2
        losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    return losses.mean() if class_weights is None else (losses * class_weights[labels]).mean()


def taught_loss(logits: Tensor, taught: Tensor, head: Head) -> Tensor:
    """Return how far logits (N, classes) are from a teacher's, both softened: a mean divergence, a scalar in nats.

    Hinton et al. 2015, arXiv:1503.02531; like theirs it is scaled by the temperature's square, so that its gradients
    are of the size of ``head_loss``'s.
    """
    soft, targets = logits / _TAUGHT_TEMPERATURE, taught / _TAUGHT_TEMPERATURE
    shares = probabilities(targets, head)
    if head == "softmax":
        divergence = nn.functional.cross_entropy(soft, shares) - nn.functional.cross_entropy(targets, shares)
    else:
        loss = partial(nn.functional.binary_cross_entropy_with_logits, target=shares, reduction="sum")
        divergence = (loss(soft) - loss(targets)) / len(logits)
    return divergence * _TAUGHT_TEMPERATURE**2


def probabilities(logits: Tensor, head: Head) -> Tensor:
    """Return the probabilities in [0, 1] of logits (N, classes): their softmax, or independent ones for ``sigmoid``."""
    return logits.softmax(1) if head == "softmax" else logits.sigmoid()


def fit_temperature(logits: Tensor, labels: Tensor, head: Head) -> float:
    """Return the temperature by which to divide logits (N, classes) for the lowest loss against labels (N,).

    Guo et al. 2017, arXiv:1706.04599, section 4.2, with the targets of Platt 1999 ("Probabilistic outputs for support
    vector machines", section 2.2): a right answer counts as right with the probability (N + 1) / (N + 2), so that a few
    images without a mistake do not make the network certain. It changes no label, only how sure the network says it is.
    """
    from scipy.optimize import minimize_scalar

    lowest, highest = (math.log(temperature) for temperature in _TEMPERATURES)
    best = minimize_scalar(
        lambda power: _loss_at(math.exp(power), logits, labels, head), bounds=(lowest, highest), method="bounded"
    )
    return float(math.exp(best.x))


def losses_by_temperature(logits: Tensor, labels: Tensor, head: Head) -> tuple[float, ...]:
    """Return the sums of the loss of ``fit_temperature`` over all images, at each of ``TEMPERATURES``.

    Those of several networks, each for images of its own, add up to the losses of all at one temperature.
    """
    return tuple(len(labels) * _loss_at(temperature, logits, labels, head) for temperature in TEMPERATURES)


def _loss_at(temperature: float, logits: Tensor, labels: Tensor, head: Head) -> float:
    options = logits.shape[1] if head == "softmax" else 2  # among which ``head_loss`` spreads a smoothed target
    smoothing = options / (options - 1) / (len(labels) + 2)
    return float(head_loss(logits.double() / temperature, labels, head, smoothing))
