"""From a few labelled images to likely labels of many others, by the features that a network has of all."""

import math

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.data.unlabelled import Unlabelled
from lrnet_cli.errors import DataError
from lrnet_cli.evaluation.paired import BEYOND_CHANCE, gain_of
from lrnet_cli.models.edges import edges_of
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.features import WithFeatures, excess_of_features, points_of
from lrnet_cli.models.heads import fit_temperature
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.models.propagation import propagated
from lrnet_cli.training.data import Data
from lrnet_cli.training.lesson import Lesson
from lrnet_cli.training.trial import Tried
from lrnet_cli.weights.card import UnlabelledNote

# Of the way from equal probabilities to certainty: foreign images stay below it, which no label reaches. A network that
# learned from some of them would not tell them by its novelty.
_REACHED = 0.15
_SUREST = 0.85  # of the labels that spread to each class
_EQUAL, _ROUNDS = 100, 30  # images of each class that stand for equal shares; of expectation maximisation


def spread_by(tried: Tried, data: Data, unlabelled: Unlabelled, engine: Engine) -> Lesson:
    """Return what the network of a trial teaches by its features for all images.

    Raises ``DataError`` if memory does not hold these.
    """
    train, known, classes = len(data.train), len(data.train) + len(data.val), len(data.dataset.classes)
    images = torch.cat([data.train.images, data.val.images, unlabelled.images])
    network = WithFeatures(tried.network).eval()
    width = predict_logits(network, images[:1].to(engine.device)).shape[1] + edges_of(images[:1]).shape[1]
    if problem := excess_of_features(len(images), width):
        raise DataError(f"The features of {len(images)} images: {problem}; give fewer images without labels.")
    outputs = predict_logits(network, images.to(engine.device))
    points = points_of(edges_of(images), outputs[:, classes:])
    scores = propagated(points, np.arange(train), data.train.labels.numpy(), classes)
    spread = _calibrated(torch.from_numpy(scores), data)
    # Two opinions, of which each is wrong elsewhere: what is alike, and what the network answers.
    both = with_shares(spread + _calibrated(outputs[:, :classes].double(), data))
    hits = both[train:known].argmax(1) == data.val.labels
    gain, error = gain_of(hits, tried.hits.cpu())
    chosen, foreign, unsure = torch.empty(0, dtype=torch.int64), 0, 0
    if gain >= -BEYOND_CHANCE * error:  # few images decide: what is not surely worse may teach a better network
        reaching = spread[known:].exp().max(1).values
        reached = torch.nonzero(reaching >= 1 / classes + _REACHED * (1 - 1 / classes))[:, 0]
        chosen = reached[surest(both[known:][reached].softmax(1))]
        foreign, unsure = len(reaching) - len(reached), len(reached) - len(chosen)
    note = UnlabelledNote(
        kept="taught" if len(chosen) else "supervised",
        taught=len(chosen),
        foreign=foreign,
        unsure=unsure,
        copies=unlabelled.copies,
        skipped=len(unlabelled.skipped),
        validation=len(data.val),
        right=(int(tried.hits.sum()), int(hits.sum())),
    )
    return Lesson(chosen, both[known:][chosen].argmax(1), note, unlabelled.content_sha256)


def _calibrated(scores: Tensor, data: Data) -> Tensor:
    """Return log-probabilities from ``scores`` of all images, by a temperature that suits the validation images."""
    validated = scores[len(data.train) :][: len(data.val)]
    return (scores / fit_temperature(validated, data.val.labels, "softmax")).log_softmax(1)


def with_shares(scores: Tensor) -> Tensor:
    """Return ``scores``, log-likelihoods (N, classes), with the logarithm of how frequent each class seems to be.

    Labels spread as if all classes were equally frequent, as the labelled ones mostly are. How frequent they are among
    all images is found by expectation maximisation (Saerens et al. 2002, "Adjusting the outputs of a classifier to new
    a priori probabilities", section 2.2), in which equal shares count as much as some images of each class: of classes
    with few images too little is known.
    """
    count, classes = scores.shape
    frequency = torch.zeros(classes, dtype=scores.dtype)
    for _ in range(_ROUNDS):
        images = (scores + frequency).softmax(1).sum(0) + _EQUAL
        frequency = (images / (count + classes * _EQUAL)).log()
    return scores + frequency


def surest(shares: Tensor) -> Tensor:
    """Return, bool (N,), which labels teach, by the class probabilities ``shares`` (N, classes) of the images.

    These are the surest of each class, always the same share. One threshold for all classes would leave those that are
    hard to tell apart nearly without images, and the network would learn never to answer them.
    """
    confidence, labels = shares.max(1)
    is_sure = torch.zeros(len(shares), dtype=torch.bool)
    for label in labels.unique():
        of_class = torch.nonzero(labels == label)[:, 0]
        ranked = confidence[of_class].argsort(descending=True, stable=True)
        is_sure[of_class[ranked[: math.ceil(_SUREST * len(ranked))]]] = True
    return is_sure
