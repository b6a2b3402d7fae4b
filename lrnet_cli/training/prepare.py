"""From settings to a run that is ready to train: data, network, run folder."""

import math
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lrnet_cli.data.catalog import CATALOG
from lrnet_cli.data.datasets import Dataset, load_dataset, located
from lrnet_cli.data.reading import Skipped
from lrnet_cli.data.sketch import sketch_of
from lrnet_cli.data.splits import Split, validation_apart
from lrnet_cli.errors import UsageError
from lrnet_cli.memory import excess
from lrnet_cli.models.engine import Engine, to_device
from lrnet_cli.models.registry import build, summary_of
from lrnet_cli.processes import Processes
from lrnet_cli.reporter import Reporter
from lrnet_cli.runs.folder import create_run_dir, versions
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.recipe import recipe_of
from lrnet_cli.training.batches import affordable_images, batch_size_of
from lrnet_cli.training.checkpoint import has_checkpoint, load_checkpoint
from lrnet_cli.training.class_weights import class_weights_of, located_class_weights
from lrnet_cli.training.inherit import freeze, refuse_changed, sources_of, start_from, teachers_logits
from lrnet_cli.training.state import TrainingState
from lrnet_cli.weights.card import DataNote, ProtocolNote, WeightsCard
from lrnet_cli.weights.find import find_weights, fingerprint_of, located_weights


@dataclass(frozen=True)
class Run:
    """A run that is ready to train: its settings as resolved, its data where the engine computes, and its folder.

    ``class_weights`` (classes,), if there are any, weigh the loss, with a mean of 1 over the training pictures;
    ``taught`` are the teachers' logits for the training pictures, if there are teachers. ``mirrors`` says whether
    pictures are mirrored every other time; ``skipped`` are the image files that could not be read. ``begun`` is when
    the run began by ``time.perf_counter``, had it never been stopped.
    """

    config: TrainConfig
    card: WeightsCard
    engine: Engine
    processes: Processes
    state: TrainingState
    train_split: Split
    class_weights: Tensor | None
    taught: Tensor | None
    val_split: Split
    test_split: Split
    batch_size: int
    mirrors: bool
    skipped: Sequence[Skipped]
    folder: Path
    reporter: Reporter
    should_stop: Callable[[], bool]
    begun: float

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in the training pictures."""
        return len(self.train_split) // self.batch_size


def rooted(config: TrainConfig) -> TrainConfig:
    """Return ``config`` with its paths as they are from every working folder: a run may be resumed from another.

    Raises ``UsageError`` for a data set that there is none of.
    """
    config = replace(
        config,
        dataset=located(config.dataset),
        init=config.init and located_weights(config.init),
        class_weights=located_class_weights(config.class_weights),
        distill=tuple(map(located_weights, config.distill)),
    )
    return replace(
        config,
        init_sha256=config.init and fingerprint_of(find_weights(config.init)),
        sources_sha256=tuple(map(fingerprint_of, sources_of(config))),
    )


def prepare(
    config: TrainConfig,
    resumed: Path | None,
    engine: Engine,
    processes: Processes,
    reporter: Reporter,
    should_stop: Callable[[], bool],
    start: float,
) -> Run:
    """Load and cut the data, build the network and create the run folder, or take up the run in ``resumed``.

    Nothing is written to the folder, on which there may be no lock yet.

    ``start`` is when this process began with the run, by ``time.perf_counter``. Raises what ``train`` raises.
    """
    # Known only here: torchrun starts processes that the settings do not mention.
    if processes.together and not (config.fuse and config.arch == "lrnet"):
        raise UsageError("Only the fused LR-Net trains in several processes: no other has the batch statistics of all.")
    seed = processes.agree(config.seed if config.seed is not None else secrets.randbelow(2**31))
    reporter.message(f"Device: {engine}{f', {processes.count} processes' if processes.together else ''}.")
    with processes.first_goes_ahead():
        dataset = _load(config, reporter)
        train_split, val_split, validation = _cut_validation(dataset, config, seed)
    affordable = None
    if config.batch_size is None and config.max_time is not None and config.arch == "lrnet":
        affordable = affordable_images(config, engine, train_split, len(dataset.classes), processes)
    batch_size = batch_size_of(config.batch_size, len(train_split), processes.count, affordable)
    config = replace(config, seed=seed, batch_size=batch_size)
    mirrors = _mirrors(config, dataset.name)
    sizes = DataNote(train=len(train_split), val=len(val_split), test=len(dataset.test))
    card = replace(_card(config, dataset, sizes, validation, mirrors), seen=sketch_of(train_split, val_split))
    unseen = (val_split, dataset.test)
    _refuse_excess(card, engine, batch_size // processes.count)
    _set_up_torch(config)
    model = to_device(_network(config, card, resumed, unseen, reporter), engine.device)
    state = TrainingState.start(model, config, engine.device)
    train_split = train_split.to(engine.device)
    class_weights = class_weights_of(config.class_weights, dataset.classes, train_split.labels)
    taught = None
    if config.distill:
        taught = teachers_logits(config.distill, card, train_split, unseen, engine, reporter.message)
    # What cannot be used has been refused by now, before there is a folder.
    run_dir = resumed or processes.agree(create_run_dir(config, dataset.name) if processes.is_first else None)
    if resumed is not None and load_checkpoint(run_dir, state, dataset.content_sha256, reporter.message):
        reporter.message(f"Resuming epoch {state.epoch}, after {state.step} of its steps.")
    reporter.message(
        f"Training {config.arch} on {dataset.name}: {sizes['train']} training, {sizes['val']} validation and "
        f"{sizes['test']} test images in {len(dataset.classes)} classes; seed {seed}; run folder {run_dir}."
    )
    return Run(
        config=config,
        card=card,
        engine=engine,
        processes=processes,
        state=state,
        train_split=train_split,
        class_weights=class_weights,
        taught=taught,
        val_split=val_split.to(engine.device),
        test_split=dataset.test,
        batch_size=batch_size,
        mirrors=mirrors,
        skipped=dataset.skipped,
        folder=run_dir,
        reporter=reporter,
        should_stop=should_stop,
        begun=start - state.elapsed,
    )


def _load(config: TrainConfig, reporter: Reporter) -> Dataset:
    return load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        mirror=config.mirror,
        image_size=config.image_size,
        channels=config.channels,
        fold=(config.test_fold, config.folds) if config.test_fold and config.folds else None,
        on_error=config.on_error,
        on_progress=reporter.download,
        on_pictures=reporter.pictures,
        on_message=reporter.message,
    )


def _card(config: TrainConfig, dataset: Dataset, sizes: DataNote, how: ProtocolNote, mirrors: bool) -> WeightsCard:
    assert config.seed is not None
    protocol: ProtocolNote = {**how, "recipe": recipe_of(config) | {"flip": "on" if mirrors else "off"}}
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
        dataset=sizes | _source_of(dataset),
        protocol=protocol,
        versions=versions(),
    )


def _network(
    config: TrainConfig, card: WeightsCard, resumed: Path | None, unseen: Sequence[Split], reporter: Reporter
) -> nn.Module:
    """Return the network at its start, which a checkpoint of ``resumed``, if there is one, takes further."""
    begins = resumed is None or not has_checkpoint(resumed)
    refuse_changed(config, with_init=begins)
    model = build(config.arch, dropout=config.dropout, **card.arch_args)
    if config.init is not None and begins:
        start_from(model, config.init, card, unseen, reporter.message)
    if config.freeze is not None:
        freeze(model, config.freeze)
    return model


def _refuse_excess(card: WeightsCard, engine: Engine, batch_size: int) -> None:
    """Raise ``UsageError`` if a training step surely needs more memory than there is."""
    costs = summary_of(card.arch, **card.arch_args)
    # What convolutions and matrix products give is kept for the gradients; weights have a gradient and averages, too.
    kept = sum(math.prod(layer.output) for layer in costs.layers if layer.multiply_adds)
    needed = batch_size * kept * (2 if engine.precision == "bf16" else 4) + 4 * costs.parameters * 4
    free = torch.cuda.mem_get_info(engine.device)[0] if engine.device.type == "cuda" else None
    if problem := excess(needed, free):
        raise UsageError(
            f"A step on {batch_size} images of {card.preprocessing.image_size} pixels per side {problem}; give a "
            "smaller --batch-size or --image-size."
        )


def _source_of(dataset: Dataset) -> DataNote:
    """Return where the pictures are from, and what the source holds that the run does not use, if there is any."""
    note = DataNote(name=dataset.name, content_sha256=dataset.content_sha256)
    if dataset.skipped:
        note["skipped"] = len(dataset.skipped)
    if dataset.left_out:
        note["left_out"] = dict(dataset.left_out)
    return note


def _set_up_torch(config: TrainConfig) -> None:
    assert config.seed is not None
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA requires for deterministic results
    torch.use_deterministic_algorithms(config.deterministic)
    torch.manual_seed(config.seed)


def _mirrors(config: TrainConfig, dataset: str) -> bool:
    entry = CATALOG.get(dataset)
    wanted = config.flip == "on" or (config.flip == "auto" and entry is not None and entry.mirrored_keeps_class)
    return config.augment and wanted


def _cut_validation(dataset: Dataset, config: TrainConfig, seed: int) -> tuple[Split, Split, ProtocolNote]:
    """Return training and validation images, and how the latter were chosen."""
    train, val, fraction = validation_apart(
        dataset.name, dataset.train, dataset.val, config.val_fraction, seed, config.limit
    )
    if fraction is None:
        return train, val, {"validation": "the data set's own"}
    how = ProtocolNote(
        validation=f"{fraction:.3g} of the training images, cut by class",
        val_cut={"fraction": fraction, "seed": seed, "limit": config.limit},
    )
    return train, val, how
