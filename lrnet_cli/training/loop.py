"""Training: load, split, step, validate, keep the best, test once."""

import math
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrnet_cli import paths
from lrnet_cli.data.augment import augment
from lrnet_cli.data.catalog import KNOWN_NAMES, canonical_name
from lrnet_cli.data.datasets import Dataset, Split, limited, load_dataset, stratified_cut
from lrnet_cli.devices import describe_device, place, resolve_device
from lrnet_cli.errors import DataError, InterruptedRunError, TrainingError
from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.evaluation.metrics import Metrics, head_loss
from lrnet_cli.inference import as_input
from lrnet_cli.models.folding import fold
from lrnet_cli.models.registry import build
from lrnet_cli.training.checkpoint import load_checkpoint, save_checkpoint
from lrnet_cli.training.config import TrainConfig
from lrnet_cli.training.reporter import EpochRow, Reporter
from lrnet_cli.training.run import (
    create_run_dir,
    read_config,
    read_result,
    versions,
    write_config,
    write_model_card,
    write_result,
    write_rows,
)
from lrnet_cli.training.state import TrainingState, learning_rate, recompute_batch_statistics
from lrnet_cli.weights import WEIGHTS_NAME, WeightsCard, load_weights, save_weights

_LARGEST_BATCH, _SMALLEST_BATCH, _STEPS_AN_EPOCH = 128, 16, 32
_VALIDATION_IMAGES = 300  # fewer let a lucky epoch win
_SMALLEST_VAL_FRACTION, _LARGEST_VAL_FRACTION = 0.1, 0.2
_STATISTICS_IMAGES = 1024
_CHECKPOINT_SECONDS = 180.0  # between checkpoints within an epoch


def train(
    config: TrainConfig, reporter: Reporter | None = None, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Train a network as ``config`` says and return the result, the document of schema ``lrnet.train/1``.

    The run folder is complete when this returns. Once ``should_stop`` is true, asked after every step, the run ends
    with a checkpoint, the best weights so far, ``"interrupted": true`` and without reading the test set.

    Raises ``TrainingError``, ``DataError``, ``DeviceError`` or ``UsageError`` for what cannot be used, and
    ``InterruptedRunError`` if it is stopped before there are any weights.
    """
    seed = config.seed if config.seed is not None else secrets.randbelow(2**31)
    path = Path(config.dataset).expanduser()
    if canonical_name(config.dataset) not in KNOWN_NAMES and path.exists():
        config = replace(config, dataset=str(path.resolve()))  # a run may be resumed from another working folder
    return _train(replace(config, seed=seed), seed, None, reporter or Reporter(), should_stop)


def resume(
    run_dir: Path,
    *,
    epochs: int | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Go on with the run in ``run_dir`` from its last checkpoint, and return its result as ``train`` does.

    On the same CPU and versions the outcome is that of a run that was never stopped, bit for bit. ``epochs`` may be
    raised; the learning rate then follows the longer schedule from here on. A run that is done returns its result.
    """
    reporter = reporter or Reporter()
    config, before = read_config(run_dir)
    assert config.seed is not None  # a run records the seed that it drew
    seed = config.seed
    if epochs is not None and epochs < config.epochs:
        raise TrainingError(
            f"{run_dir}: has {config.epochs} epochs; --epochs may raise that on resuming, not lower it."
        )
    result = read_result(run_dir)
    if result is not None and not result["interrupted"] and epochs in (None, config.epochs):
        reporter.message(f"{run_dir} is done already; raise --epochs to train on.")
        return result
    changed = [
        f"{name} {before.get(name)} then, {now} now" for name, now in versions().items() if before.get(name) != now
    ]
    if changed:
        reporter.message(f"Versions have changed since the run began ({'; '.join(changed)}): results may differ.")
    config = replace(config, epochs=epochs or config.epochs, device=device or config.device)
    return _train(config, seed, run_dir, reporter, should_stop)


def _train(
    config: TrainConfig, seed: int, resumed: Path | None, reporter: Reporter, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    start = time.perf_counter()
    before = read_result(resumed) if resumed is not None else None
    test_reads = before["test_reads"] if before is not None else 0
    device = resolve_device(config.device, config.gpus)
    reporter.message(f"Device: {describe_device(device)}.")
    dataset = load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        mirror=config.mirror,
        image_size=config.image_size,
        channels=config.channels,
        on_progress=reporter.download,
        on_message=reporter.message,
    )
    train_split, val_split, validation = _cut_validation(dataset, config, seed)
    batch_size = min(config.batch_size or _batch_size_for(len(train_split)), len(train_split))
    steps = len(train_split) // batch_size
    arch_args = {
        "in_channels": dataset.preprocessing.channels,
        "image_size": dataset.preprocessing.image_size,
        "num_classes": len(dataset.classes),
    }
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA asks for, to be deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    torch.manual_seed(seed)
    model = place(build(config.arch, dropout=config.dropout, **arch_args), device)
    state = TrainingState.start(model, config, config.epochs * steps, device)
    run_dir = resumed or create_run_dir(config, dataset.name)
    try:
        if resumed is not None and load_checkpoint(run_dir, state, dataset.content_sha256, reporter.message):
            reporter.message(f"Going on with epoch {state.epoch}, after {state.step} of its {steps} steps.")
        write_config(run_dir, config, batch_size=batch_size, device=describe_device(device))
        reporter.message(
            f"Training {config.arch} on {dataset.name}: {len(train_split)} training, {len(val_split)} validation and "
            f"{len(dataset.test)} test images in {len(dataset.classes)} classes; seed {seed}; run folder {run_dir}."
        )
        card = WeightsCard(
            arch=config.arch,
            arch_args=arch_args,
            classes=dataset.classes,
            head=config.head,
            preprocessing=dataset.preprocessing,
            seed=seed,
            dataset={
                "name": dataset.name,
                "content_sha256": dataset.content_sha256,
                "train": len(train_split),
                "val": len(val_split),
                "test": len(dataset.test),
            },
            protocol={"validation": validation, "recipe": _recipe(config, batch_size)},
            versions=versions(),
        )
        reporter.start(config.epochs)
        stopped = _fit(
            state, config, run_dir, card, train_split.to(device), val_split.to(device), reporter, should_stop
        )
        best = state.best
        if best is None:
            raise InterruptedRunError(
                "Stopped before the first epoch ended, so there are no weights yet; go on with: "
                f"lrnet train --resume {run_dir}"
            )
        result: dict[str, Any] = {
            "schema": "lrnet.train/1",
            "run_dir": str(run_dir),
            "weights": str(run_dir / WEIGHTS_NAME),
            "arch": config.arch,
            "dataset": dataset.name,
            "epochs": len(state.rows),
            "best_epoch": best.epoch,
            "val_accuracy": best.val_accuracy,
            **_test_figures(None),
            "train_images_per_second": (len(state.rows) * steps + state.step) * batch_size / state.seconds,
            "seconds": time.perf_counter() - start,
            "seed": seed,
            "device": describe_device(device),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "test_reads": test_reads,
            "interrupted": True,
        }
        # The folder is complete before the test images are read, so that a run that is killed there is not lost.
        best_model, card = load_weights(run_dir / WEIGHTS_NAME)
        write_model_card(run_dir, card, describe_device(device), None, test_reads)
        write_result(run_dir, result)
        try:
            paths.record_run(run_dir)
        except OSError as error:
            reporter.message(f"{error.filename}: cannot be written; name this run to `lrnet predict` with --weights.")
        if stopped:
            return result
        reporter.message(f"Reading the {len(dataset.test)} test images, once, with the weights of epoch {best.epoch}.")
        placed = fold(place(best_model, device), config.fold)
        test = evaluate(placed, dataset.test.to(device), dataset.name, dataset.classes, config.head).metrics
        card = replace(card, metrics=card.metrics | _test_figures(test))
        save_weights(run_dir / WEIGHTS_NAME, best_model, card)
        result |= _test_figures(test) | {
            "seconds": time.perf_counter() - start,
            "interrupted": False,
            "test_reads": test_reads + 1,
        }
        write_model_card(run_dir, card, describe_device(device), test, test_reads + 1)
        write_result(run_dir, result)
        return result
    except OSError as error:
        raise TrainingError(
            f"{error.filename or run_dir}: cannot be written ({error.strerror or error}). Make room or rights there "
            f"and go on with: lrnet train --resume {run_dir}"
        ) from error


def _fit(
    state: TrainingState,
    config: TrainConfig,
    run_dir: Path,
    card: WeightsCard,
    train_split: Split,
    val_split: Split,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> bool:
    """Train from ``state`` to the last epoch, keeping the best weights; return whether it was stopped before."""
    batch_size = card.protocol["recipe"]["batch_size"]
    steps = len(train_split) // batch_size
    network = fold(state.model, config.fold)
    statistics_images = train_split.take(_permutation(card.seed, 0, len(train_split))[:_STATISTICS_IMAGES]).images
    saved_at = time.perf_counter()
    while state.epoch <= config.epochs:
        # Asked here, so that a run that was killed after its last epoch does not train on when it is resumed.
        if config.patience is not None and state.epochs_without_gain >= config.patience:
            reporter.message(f"No better validation accuracy for {config.patience} epochs; stopping early.")
            break
        permutation = _permutation(card.seed, state.epoch, len(train_split)).to(train_split.labels.device)
        network.train()
        begun, steps_before = time.perf_counter(), state.step
        while state.step < steps:
            # The pictures beyond the last full batch wait for another epoch's order: one shape serves every step.
            batch = train_split.take(permutation[state.step * batch_size : (state.step + 1) * batch_size])
            progress = ((state.epoch - 1) * steps + state.step) / (config.epochs * steps)
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(config, progress)
            images = as_input(batch.images)
            logits = network(augment(images) if config.augment else images)
            loss = head_loss(logits, batch.labels, config.head)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            if state.average is not None:
                state.average.update_parameters(state.model)
            state.sums += torch.stack([loss.detach(), (logits.detach().argmax(1) == batch.labels).float().mean()])
            state.step += 1
            reporter.step(state.epoch, state.step, steps)
            stop = should_stop()
            if stop or time.perf_counter() - saved_at > _CHECKPOINT_SECONDS:
                state.seconds += time.perf_counter() - begun
                save_checkpoint(run_dir, state, card.dataset["content_sha256"])
                begun = saved_at = time.perf_counter()
            if stop:
                return True
        train_loss, train_accuracy = (state.sums / steps).tolist()  # waits for the device: the clock stays honest
        state.seconds += time.perf_counter() - begun
        speed = (steps - steps_before) * batch_size / max(time.perf_counter() - begun, 1e-9)
        if not math.isfinite(train_loss):
            kept = f" {run_dir / WEIGHTS_NAME} holds the best epoch before that." if state.rows else ""
            raise TrainingError(
                f"The training loss became {train_loss} in epoch {state.epoch}; try a lower --lr.{kept}"
            )
        evaluated = fold(state.evaluated, config.fold)
        recompute_batch_statistics(evaluated, statistics_images, batch_size)
        validated = evaluate(evaluated, val_split, card.dataset["name"], card.classes, config.head).metrics
        row = EpochRow(
            epoch=state.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=validated.loss,
            val_accuracy=validated.accuracy,
            learning_rate=learning_rate(config, (state.epoch * steps - 1) / (config.epochs * steps)),
        )
        state.rows.append(row)
        is_best = state.best is row
        if is_best:
            metrics = {"val_accuracy": row.val_accuracy, "val_loss": row.val_loss, "val_ece": validated.ece}
            save_weights(
                run_dir / WEIGHTS_NAME, state.evaluated, replace(card, metrics=metrics | {"best_epoch": row.epoch})
            )
        write_rows(run_dir, state.rows)
        state.epoch, state.step = state.epoch + 1, 0
        state.sums.zero_()
        save_checkpoint(run_dir, state, card.dataset["content_sha256"])
        saved_at = time.perf_counter()
        reporter.epoch(row, is_best, speed)
        if should_stop():
            return True
    return False


def _test_figures(test: Metrics | None) -> dict[str, Any]:
    return {
        "test_accuracy": test.accuracy if test else None,
        "test_accuracy_ci95": list(test.accuracy_ci95) if test else None,
        "test_loss": test.loss if test else None,
        "test_ece": test.ece if test else None,
    }


def _cut_validation(dataset: Dataset, config: TrainConfig, seed: int) -> tuple[Split, Split, str]:
    """Return training and validation images, and how the latter came about, in words."""
    available = limited(dataset.train, config.limit, seed)
    if dataset.val is not None:
        return available, dataset.val, "the data set's own"
    wanted = max(_SMALLEST_VAL_FRACTION, _VALIDATION_IMAGES / len(available))
    fraction = config.val_fraction or min(_LARGEST_VAL_FRACTION, wanted)
    kept, cut = stratified_cut(available.labels, fraction, seed)
    if not len(cut) or len(kept) < 2:
        raise DataError(
            f"{dataset.name}: {len(available)} training images are too few to set {fraction:g} of each class aside for "
            "validation; give more images or a higher --val-fraction."
        )
    return available.take(kept), available.take(cut), f"{fraction:.3g} of the training images, cut by class"


def _batch_size_for(images: int) -> int:
    """Return the largest power of two that leaves 32 steps an epoch, between 16 and 128."""
    wanted = max(1, images // _STEPS_AN_EPOCH)
    return min(_LARGEST_BATCH, max(_SMALLEST_BATCH, 1 << (wanted.bit_length() - 1)))


def _permutation(seed: int, epoch: int, n: int) -> Tensor:
    """Return the order of an epoch's pictures, which depends on nothing else; epoch 0 is for batch statistics."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n))


def _recipe(config: TrainConfig, batch_size: int) -> dict[str, Any]:
    names = ("preset", "epochs", "lr", "weight_decay", "dropout", "optimizer", "schedule", "ema", "augment", "patience")
    return {name: getattr(config, name) for name in names} | {"batch_size": batch_size, "limit": config.limit}
