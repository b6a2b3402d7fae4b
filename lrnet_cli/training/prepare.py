"""From settings to a run that is ready to train: data, network, run folder."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lrnet_cli.data.reading import Skipped
from lrnet_cli.data.splits import Split
from lrnet_cli.errors import UsageError
from lrnet_cli.models.engine import Engine, to_device
from lrnet_cli.processes import Processes
from lrnet_cli.reporter import Reporter
from lrnet_cli.runs.folder import create_run_dir
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.words import LRNETS
from lrnet_cli.training.batches import affordable_images, batch_size_of, refuse_excess
from lrnet_cli.training.checkpoint import load_checkpoint
from lrnet_cli.training.class_weights import class_weights_of
from lrnet_cli.training.data import Data, card_of, load_data
from lrnet_cli.training.inherit import network_of, teachers_logits
from lrnet_cli.training.state import TrainingState
from lrnet_cli.weights.card import WeightsCard


@dataclass(frozen=True)
class Run:
    """A run that is ready to train: its settings as resolved, its data where the engine computes, and its folder.

    ``class_weights`` (classes,), if there are any, weigh the loss, with a mean of 1 over the training images;
    ``taught`` are the teachers' logits for the training images, if there are teachers. ``mirrors`` says whether
    images are mirrored every other time; ``skipped`` are the image files that could not be read.
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

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in the training images."""
        return len(self.train_split) // self.batch_size


def prepare(config: TrainConfig, resumed: Path | None, engine: Engine, processes: Processes, reporter: Reporter) -> Run:
    """Load and cut the data, build the network and create the run folder, or take up the run in ``resumed``.

    Nothing is written to the folder, on which there may be no lock yet. Raises what ``train`` raises.
    """
    # Known only here: torchrun starts processes that the settings do not mention.
    if processes.together and not (config.fuse and config.arch in LRNETS):
        raise UsageError("Only the fused LR-Net trains in several processes: no other has the batch statistics of all.")
    seed = processes.agree(config.seed if config.seed is not None else secrets.randbelow(2**31))
    reporter.message(f"Device: {engine}{f', {processes.count} processes' if processes.together else ''}.")
    with processes.first_goes_ahead():
        data = load_data(config, seed, reporter)
    dataset = data.dataset
    config = replace(config, seed=seed, batch_size=_batch_size(config, engine, data, processes))
    assert config.batch_size is not None
    card = card_of(config, data)
    refuse_excess(card, engine, config.batch_size // processes.count)
    _set_up_torch(config)
    model = to_device(network_of(config, card, resumed, data.unseen, reporter.message), engine.device)
    state = TrainingState.start(model, config, engine.device)
    train_split = data.train.to(engine.device)
    class_weights = class_weights_of(config.class_weights, dataset.classes, train_split.labels)
    taught = None
    if config.distill:
        taught = teachers_logits(config.distill, card, train_split, data.unseen, engine, reporter.message)
    # What cannot be used has been refused by now, before there is a folder.
    run_dir = resumed or processes.agree(create_run_dir(config, dataset.name) if processes.is_first else None)
    if resumed is not None and load_checkpoint(run_dir, state, dataset.content_sha256, reporter.message):
        reporter.message(f"Resuming epoch {state.epoch}, after {state.step} of its steps.")
    reporter.message(
        f"Training {config.arch} on {dataset.name}: {len(data.train)} training, {len(data.val)} validation and "
        f"{len(dataset.test)} test images in {len(dataset.classes)} classes; seed {seed}; run folder {run_dir}."
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
        val_split=data.val.to(engine.device),
        test_split=dataset.test,
        batch_size=config.batch_size,
        mirrors=data.mirrors,
        skipped=dataset.skipped,
        folder=run_dir,
        reporter=reporter,
    )


def _batch_size(config: TrainConfig, engine: Engine, data: Data, processes: Processes) -> int:
    affordable = None
    if config.batch_size is None and config.max_time is not None and config.arch in LRNETS:
        affordable = affordable_images(config, engine, data.train, len(data.dataset.classes), processes)
    return batch_size_of(config.batch_size, len(data.train), processes.count, affordable)


def _set_up_torch(config: TrainConfig) -> None:
    assert config.seed is not None
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA requires for deterministic results
    torch.use_deterministic_algorithms(config.deterministic)
    torch.manual_seed(config.seed)
