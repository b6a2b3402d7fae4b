"""Weights together with the pictures to evaluate them on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.data.datasets import Dataset, load_dataset, name_of, with_classes_of
from lrnet_cli.data.splits import Split, limited
from lrnet_cli.errors import DataError, UsageError
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate
from lrnet_cli.evaluation.source import check_recorded, dataset_for, fold_for
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import AS_IT_IS, averaging_views, predict_logits
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.reporter import OnMessage, OnPictures, OnProgress, silent
from lrnet_cli.settings.words import Invert
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.open import open_network

PROBABILITY_OF = "probability of "  # begins the name of the column for a class, in a file of predictions
_LIMIT_SEED = 0  # fixed, so that --limit means the same pictures every time


@dataclass(frozen=True)
class Exam:
    """Weights, their network, and the pictures to evaluate it on, on the same device.

    ``described`` gives what the novelty needs; without one, ``network`` does. ``processes`` share the work, and
    ``source`` is the name or path that the images are from. ``precision`` and ``runs_on`` say how the network is run.
    """

    weights: Path
    card: WeightsCard
    network: nn.Module
    dataset: str
    split: Split
    described: nn.Module | None = None
    processes: Processes = ALONE
    source: str | None = None
    precision: str = "fp32"
    runs_on: str = ""

    def novelty(self, images: Tensor) -> Tensor:
        """Return the novelty (N,) of uint8 pictures (N, C, S, S) where the network is; the weights must have one."""
        assert self.card.novelty is not None
        return self.card.novelty(predict_logits(self.described or self.network, images, processes=self.processes))

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The settings that the network was trained with, as far as the weight file says."""
        recipe: Mapping[str, Any] = self.card.protocol.get("recipe", {})
        return recipe

    def evaluate(self, *, tta: bool = False) -> Evaluation:
        """Evaluate the network; with ``tta`` on the average of several views of each picture."""
        mirrored = self.recipe.get("flip") == "on"
        views = averaging_views(mirrored=mirrored) if tta else AS_IT_IS
        card = self.card
        network = self.described or self.network
        return evaluate(
            network,
            self.split,
            self.dataset,
            card.classes,
            card.head,
            self.processes,
            temperature=card.temperature,
            views=views,
        )


def load_exam(
    weights: Path,
    dataset: str | None,
    split: Literal["train", "val", "test"],
    *,
    engine: Engine,
    processes: Processes = ALONE,
    limit: int | None = None,
    invert: Invert = "no",
    data_dir: Path | None = None,
    mirror: str | None = None,
    on_progress: OnProgress = silent,
    on_pictures: OnPictures = silent,
    on_message: OnMessage = silent,
) -> Exam:
    """Return weights, an exported ``.onnx`` too, and a split of ``dataset``, or of the one they were trained on.

    The pictures are preprocessed as the weights require; classes are matched by name. Weights of a cross-validation are
    evaluated on the fold that they did not see, if the data set is their own. Raises ``WeightsError``,
    ``DataError`` or ``UsageError`` for what cannot be used.
    """
    opened = open_network(weights, engine)
    card = opened.card
    name = dataset_for(weights, card, dataset)
    if card.protocol.get("ensemble"):
        _warn_of_seen(weights, card, name, on_message)
    fold = fold_for(card, name)
    if fold is not None:
        on_message(f"{weights}: comes from cross-validation; its test pictures are fold {fold[0]} of {fold[1]}.")
    with processes.first_goes_ahead():
        loaded = load_dataset(
            name,
            preprocessing=card.preprocessing,
            data_dir=data_dir,
            mirror=mirror,
            invert=invert,
            fold=fold,
            on_progress=on_progress,
            on_pictures=on_pictures,
            on_message=on_message,
        )
    check_recorded(weights, card, dataset, loaded, on_message)
    matched = with_classes_of(loaded, card.classes)
    part = _chosen(matched, split, card, limit, on_message).to(engine.device)
    return Exam(
        weights,
        card,
        opened.network,
        matched.name,
        part,
        opened.described,
        processes,
        name,
        precision=opened.precision,
        runs_on=opened.runs_on,
    )


def _warn_of_seen(weights: Path, card: WeightsCard, name: str, on_message: OnMessage) -> None:
    """Say that the networks of a cross-validation have together seen all pictures of their data set."""
    on_message(f"{weights}: the mean of {len(card.protocol['ensemble'])} networks.")
    if card.protocol.get("folds") and name_of(name) == card.dataset.get("name"):
        single = card.metrics.get("over_single_runs")
        honest = f"; the cross-validated accuracy of single networks is {single['value']:.4f}" if single else ""
        on_message(f"Each picture of {card.dataset['name']} was in the training of nearly all of them{honest}.")


def load_foreign(
    exam: Exam,
    dataset: str,
    *,
    limit: int | None = None,
    data_dir: Path | None = None,
    mirror: str | None = None,
    on_progress: OnProgress = silent,
    on_message: OnMessage = silent,
) -> tuple[str, Tensor]:
    """Return the name and the test pictures of another data set, preprocessed as ``exam``'s weights require.

    As in prediction, pictures of the other polarity are inverted. Raises what ``load_exam`` raises.
    """
    with exam.processes.first_goes_ahead():
        loaded = load_dataset(
            dataset,
            preprocessing=exam.card.preprocessing,
            data_dir=data_dir,
            mirror=mirror,
            invert="auto",
            on_progress=on_progress,
            on_message=on_message,
        )
    return loaded.name, limited(loaded.test, limit, _LIMIT_SEED).images.to(exam.split.images.device)


def write_predictions(
    path: Path, evaluation: Evaluation, *, every_class: bool = False, spreadsheet: bool = False
) -> None:
    """Write one CSV row per picture: its position in the split, file, true and predicted class and its probability.

    Pictures without files have no column for them; ``every_class`` adds one for the probability of each class. For a
    ``spreadsheet``, no cell is a formula.
    """
    values, indices = evaluation.probabilities.max(1)
    files = evaluation.paths
    more = [f"{PROBABILITY_OF}{name}" for name in evaluation.classes] if every_class else []
    columns = ["index", *(["path"] if files is not None else []), "true", "predicted", "probability", "correct", *more]

    def rows() -> Iterator[list[object]]:
        judged = zip(evaluation.labels.tolist(), indices.tolist(), values.tolist(), strict=True)
        for position, (true, predicted, probability) in enumerate(judged):
            source = [files[position]] if files is not None else []
            names = evaluation.classes[true], evaluation.classes[predicted]
            every = evaluation.probabilities[position].tolist() if every_class else []
            yield [position, *source, *names, probability, true == predicted, *every]

    try:
        paths.write_table(path, columns, rows(), spreadsheet=spreadsheet)
    except OSError as error:
        raise UsageError(f"{path}: the predictions cannot be written ({error.strerror or error}).") from error


def _chosen(
    loaded: Dataset,
    split: Literal["train", "val", "test"],
    card: WeightsCard,
    limit: int | None,
    on_message: OnMessage,
) -> Split:
    """Return up to ``limit`` images to judge, saying which they are where that is not plain from ``split``."""
    own = loaded.content_sha256 == card.dataset.get("content_sha256")
    if split == "test" and loaded.test_is_cut_off and not own:
        everything = loaded.train.with_rows_of(loaded.test)
        part = limited(everything, limit, _LIMIT_SEED)
        share = "all" if len(part) == len(everything) else f"{len(part)}"
        on_message(f"{loaded.name}: has no splits, so {share} of its {len(everything)} pictures are judged.")
        return part
    chosen = {"train": loaded.train, "val": loaded.val, "test": loaded.test}[split]
    if chosen is None:
        raise DataError(f"{loaded.name}: has no validation split; choose --split test or train.")
    part = limited(chosen, limit, _LIMIT_SEED)
    if split == "test" and loaded.test_is_cut_off:
        share = "" if len(part) == len(chosen) else f"{len(part)} of "
        on_message(
            f"{loaded.name}: has no test split; {share}the {len(chosen)} pictures that were set aside in training are "
            f"judged, and the other {len(loaded.train)} are left out (--split train judges those)."
        )
    return part
