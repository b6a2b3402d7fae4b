"""Weights together with the images to evaluate them on."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lrnet_cli.data.datasets import Dataset, load_dataset, with_classes_of
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.data.sketch import FEW_SEEN, share_in
from lrnet_cli.data.splits import Split, limited
from lrnet_cli.errors import DataError
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate
from lrnet_cli.evaluation.source import check_recorded, dataset_for, load_for
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import AS_IT_IS, averaging_views, predict_logits
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.open import OpenNetwork, open_network

_LIMIT_SEED = 0  # fixed, so that --limit means the same images every time


@dataclass(frozen=True)
class EvaluationSetup:
    """Weights, their network, and the images to evaluate it on, on the same device.

    ``processes`` share the work, and ``source`` is the name or path that the images are from. They are of a ``fold``,
    number and count, where the weights are of a cross-validation; ``own`` says whether the weights were trained on
    other images of the very same data set.
    """

    weights: Path
    opened: OpenNetwork
    dataset: str
    split: Split
    processes: Processes = ALONE
    source: str | None = None
    fold: tuple[int, int] | None = None
    own: bool = False

    @property
    def card(self) -> WeightsCard:
        """The card of the weights."""
        return self.opened.card

    def novelty(self, images: Tensor) -> Tensor:
        """Return the novelty (N,) of uint8 images (N, C, S, S) where the network is; the weights must have one."""
        assert self.card.novelty is not None
        return self.card.novelty(predict_logits(self.opened.described, images, processes=self.processes))

    def evaluate(self, *, tta: bool = False) -> Evaluation:
        """Evaluate the network; with ``tta`` on the average of several views of each image."""
        mirrored = self.card.protocol.get("recipe", {}).get("flip") == "on"
        views = averaging_views(mirrored=mirrored) if tta else AS_IT_IS
        return evaluate(self.opened.described, self.split, self.card, self.processes, dataset=self.dataset, views=views)


def load_setup(
    weights: Path,
    request: EvalRequest,
    engine: Engine,
    processes: Processes = ALONE,
    reporter: Reporter = SILENT,
    like: EvaluationSetup | None = None,
) -> EvaluationSetup:
    """Return ``weights``, an exported ``.onnx`` too, and the images of ``request``'s data set, or else of their own.

    Only what the request says about images counts. They are preprocessed as the weights require; classes are matched by
    name. Weights of a cross-validation are evaluated on the fold that they did not see, if the data set is their own.
    Those that are compared with others are set up ``like`` them: on the same images.

    Raises ``WeightsError``, ``DataError`` or ``UsageError`` for what cannot be used.
    """
    opened = open_network(weights, engine)
    card = opened.card
    name = dataset_for(weights, card, request.dataset)
    if ensemble := card.protocol.get("ensemble"):
        reporter.message(f"{weights}: the mean of {len(ensemble)} networks.")
    with processes.first_goes_ahead():
        if like is None:
            loaded, fold = load_for(card, name, request.invert, request, reporter)
        else:
            options = ImageOptions(preprocessing=card.preprocessing, invert=request.invert)
            loaded, fold = load_dataset(name, options, fold=like.fold, source=request), like.fold
    if fold is not None and like is None:
        reporter.message(f"{weights}: comes from cross-validation; its test images are fold {fold[0]} of {fold[1]}.")
    check_recorded(weights, card, request.dataset, loaded, reporter.message)
    matched = with_classes_of(loaded, card.classes)
    is_same = loaded.content_sha256 == card.dataset.get("content_sha256")
    own = is_same if like is None else like.own
    part = _chosen(matched, own, request, reporter if like is None else SILENT)
    if folds := card.protocol.get("folds"):
        _tell_of_folds(part, card, folds, reporter)
    elif not is_same:
        _warn_of_known(part, card, reporter)
    return EvaluationSetup(weights, opened, matched.name, part.to(engine.device), processes, name, fold, own)


def _warn_of_known(part: Split, card: WeightsCard, reporter: Reporter) -> None:
    """Say that images are among those that the weights were trained and chosen on, if more than a few are."""
    if (share := share_in(card.seen, part)) > FEW_SEEN:
        reporter.message(
            f"About {100 * share:.0f}% of these images were used to train these weights and to choose their epoch, so "
            "the accuracy is too high: say in a list's column split which images test, or evaluate others."
        )


def _tell_of_folds(part: Split, card: WeightsCard, folds: int, reporter: Reporter) -> None:
    """Say what a single network of a cross-validation reached, and whether all together have seen these images."""
    count = len(card.protocol["ensemble"])
    if single := card.metrics.get("over_single_runs"):
        reporter.message(f"The cross-validated accuracy of single networks is {single['value']:.4f}.")
    known = share_in(card.seen, part) / (1 - 1 / folds)  # the first network's; each has left out one fold
    if known > FEW_SEEN:
        reporter.message(
            f"About {min(100.0, 100 * known):.0f}% of these images were used to train at least "
            f"{count - math.ceil(count / folds)} of them, so the accuracy is too high."
        )


def load_foreign(
    setup: EvaluationSetup, dataset: str, request: EvalRequest, reporter: Reporter = SILENT
) -> tuple[str, Tensor]:
    """Return the name and the test images of another data set, preprocessed as ``setup``'s weights require.

    Up to the limit of ``request``, and from where it says. As in prediction, images of the other polarity are inverted.
    Raises what ``load_setup`` raises.
    """
    with setup.processes.first_goes_ahead():
        loaded = load_dataset(
            dataset,
            ImageOptions(preprocessing=setup.card.preprocessing, invert="auto"),
            source=request,
            reporter=reporter,
        )
    return loaded.name, limited(loaded.test, request.limit, _LIMIT_SEED).images.to(setup.split.images.device)


def _chosen(loaded: Dataset, own: bool, request: EvalRequest, reporter: Reporter) -> Split:
    """Return the images to evaluate on, saying which they are where that is not plain from the split's name."""
    limit = request.limit
    if request.split == "test" and loaded.test_is_cut_off and not own:
        everything = loaded.train.with_rows_of(loaded.test)
        part = limited(everything, limit, _LIMIT_SEED)
        share = "all" if len(part) == len(everything) else f"{len(part)}"
        others = "" if loaded.val is None else " that are not for validation"
        reporter.message(
            f"{loaded.name}: has no test split, so {share} of its {len(everything)} images{others} are evaluated."
        )
        return part
    chosen = {"train": loaded.train, "val": loaded.val, "test": loaded.test}[request.split]
    if chosen is None:
        raise DataError(f"{loaded.name}: has no validation split; choose --split test or train.")
    part = limited(chosen, limit, _LIMIT_SEED)
    if request.split == "test" and loaded.test_is_cut_off:
        share = "" if len(part) == len(chosen) else f"{len(part)} of "
        reporter.message(
            f"{loaded.name}: has no test split; {share}the {len(chosen)} images that were set aside in training are "
            f"evaluated, and the other {len(loaded.train)} are left out (--split train evaluates those)."
        )
    return part
