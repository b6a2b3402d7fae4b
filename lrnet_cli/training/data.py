"""What a run learns from: the images of a data set, cut into splits, and the card that says so."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.data.catalog import CATALOG
from lrnet_cli.data.datasets import Dataset, load_dataset, name_of, read_source, tested_apart, without_pixels
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.data.sketch import sketch_of
from lrnet_cli.data.splits import Split, validation_apart
from lrnet_cli.errors import TrainingError
from lrnet_cli.reporter import SILENT, Reporter, silent
from lrnet_cli.runs.folder import read_config, versions
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import recipe_of
from lrnet_cli.weights.card import DataNote, ProtocolNote, UnlabelledNote, WeightsCard
from lrnet_cli.weights.file import load_weights


@dataclass(frozen=True)
class Data:
    """A data set as a run uses it: ``train`` and ``val`` images, of which ``validation`` says how they were chosen.

    ``mirrors`` says whether images are mirrored every other time. If images without labels were
    considered, ``unlabelled`` says what came of it; those that teach are the last ones of ``train``. ``paces`` are
    those at which networks train on such images, as far as they are measured.
    """

    dataset: Dataset
    train: Split
    val: Split
    validation: ProtocolNote
    mirrors: bool
    unlabelled: UnlabelledNote | None = None
    paces: dict[tuple[str, str, str], float] = field(default_factory=dict)

    @property
    def unseen(self) -> tuple[Split, Split]:
        """The images that the network is not to have seen: those of validation and test."""
        return self.val, self.dataset.test


def load_data(config: TrainConfig, seed: int, reporter: Reporter) -> Data:
    """Load the data set of ``config`` and set validation images aside; raises what ``load_dataset`` raises."""
    dataset = load_dataset(
        config.dataset,
        ImageOptions(config.image_size, config.channels, on_error=config.on_error, crop=config.crop),
        fold=(config.test_fold, config.folds) if config.test_fold and config.folds else None,
        source=config,
        reporter=reporter,
    )
    if config.test_fold == 1 and dataset.apart is not None:
        reporter.message(
            f"{dataset.name}: its own {len(dataset.apart)} test images are in none of the folds, and stay unread."
        )
    train, val, validation = _cut_validation(dataset, config, seed, reporter)
    return Data(dataset, train, val, validation, _mirrors(config, dataset.name))


def refuse_folds_that_cannot_be(config: TrainConfig, folds: int, reporter: Reporter) -> None:
    """Raise ``DataError`` if the data set of ``config`` cannot be cut into ``folds``, each with validation images."""
    raw = read_source(config.dataset, config, reporter)
    train, val, test = without_pixels(raw)
    assert config.seed is not None
    for fold in range(1, folds + 1):
        kept, _ = tested_apart(config.dataset, train, test, (fold, folds), raw.classes, silent)
        validation_apart(name_of(config.dataset), kept, val, config.val_fraction, config.seed, config.limit)


def refuse_other_images(run_dir: Path) -> None:
    """Raise ``TrainingError`` if the data set of the run in ``run_dir``, which is finished, has changed since."""
    config, _ = read_config(run_dir)
    assert config.seed is not None
    card = load_weights(run_dir / paths.WEIGHTS_NAME)[1]
    if load_data(config, config.seed, SILENT).dataset.content_sha256 != card.dataset["content_sha256"]:
        raise TrainingError(
            f"{run_dir}: the images have changed since it was trained, and the other runs need the same ones; restore "
            "them or start a new series."
        )


def card_of(config: TrainConfig, data: Data) -> WeightsCard:
    """Return the card of the weights that ``config``, in which nothing is left to be chosen, makes of ``data``."""
    assert config.seed is not None
    assert config.normalize != "auto"
    dataset, flip = data.dataset, "on" if data.mirrors else "off"
    recipe = recipe_of(config) | {"flip": flip}
    if config.augment:  # as a number, of which corruption types are known from training
        recipe["robust"] = config.robust_strength
    protocol: ProtocolNote = {**data.validation, "recipe": recipe}
    if config.test_fold and config.folds:
        protocol["test_fold"] = (config.test_fold, config.folds)
    return WeightsCard(
        arch=config.arch,
        arch_args={
            "in_channels": dataset.preprocessing.channels,
            "image_size": dataset.preprocessing.image_size,
            "num_classes": len(dataset.classes),
        },
        classes=dataset.classes,
        head=config.head,
        preprocessing=replace(dataset.preprocessing, normalize=config.normalize),
        seed=config.seed,
        dataset=_note_on(data),
        protocol=protocol,
        versions=versions(),
        seen=sketch_of(data.train, data.val),
    )


def _note_on(data: Data) -> DataNote:
    """Return where the images are from, how many are used, and what the source holds besides, if there is anything."""
    dataset = data.dataset
    note = DataNote(
        train=len(data.train) - (data.unlabelled["taught"] if data.unlabelled else 0),
        val=len(data.val),
        test=len(dataset.test),
        name=dataset.name,
        content_sha256=dataset.content_sha256,
    )
    if dataset.skipped:
        note["skipped"] = len(dataset.skipped)
    if dataset.left_out:
        note["left_out"] = dict(dataset.left_out)
    if data.unlabelled is not None:
        note["unlabelled"] = data.unlabelled
    return note


def _mirrors(config: TrainConfig, dataset: str) -> bool:
    entry = CATALOG.get(dataset)
    flips = config.flip == "on" or (config.flip == "auto" and entry is not None and entry.mirrored_keeps_class)
    return config.augment and flips


def _cut_validation(
    dataset: Dataset, config: TrainConfig, seed: int, reporter: Reporter
) -> tuple[Split, Split, ProtocolNote]:
    """Return training and validation images, and how the latter were chosen."""
    train, val, fraction = validation_apart(
        dataset.name, dataset.train, dataset.val, config.val_fraction, seed, config.limit
    )
    if fraction is None:
        if config.val_fraction is not None:
            reporter.message(
                f"{dataset.name}: --val-fraction has no effect, since the data set has its own {len(val)} validation "
                "images."
            )
        if config.test_fold == 1:
            reporter.message(
                f"{dataset.name}: a promise of the folds as one rests on their test images, not on its own {len(val)} "
                "validation images; if these are the random ones of lrnet select, train without --folds for a promise."
            )
        if dataset.test_is_cut_off:
            reporter.message(
                f"{dataset.name}: its own {len(val)} validation images are never trained on; the {len(dataset.test)} "
                "test images are set aside from its training images."
            )
        return train, val, {"validation": "the data set's own"}
    how = ProtocolNote(
        validation=f"{fraction:.3g} of the training images, stratified by class",
        val_cut={"fraction": fraction, "seed": seed, "limit": config.limit},
    )
    return train, val, how
