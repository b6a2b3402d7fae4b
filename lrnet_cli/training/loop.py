"""Training: load, split, step, validate, keep the best, test once."""

import math
import os
import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lrnet_cli import paths
from lrnet_cli.data.datasets import Dataset, Split, limited, load_dataset, stratified_cut
from lrnet_cli.devices import describe_device, place, resolve_device
from lrnet_cli.errors import DataError, TrainingError
from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.evaluation.metrics import Metrics, head_loss
from lrnet_cli.inference import as_input
from lrnet_cli.models.registry import build
from lrnet_cli.training.config import TrainConfig
from lrnet_cli.training.reporter import EpochRow, Reporter
from lrnet_cli.training.run import create_run_dir, versions, write_config, write_model_card, write_result, write_rows
from lrnet_cli.weights import WEIGHTS_NAME, WeightsCard, load_weights, save_weights

_LARGEST_BATCH, _SMALLEST_BATCH, _STEPS_AN_EPOCH = 128, 16, 40
_STATISTICS_IMAGES = 1024


def train(
    config: TrainConfig, reporter: Reporter | None = None, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Train a network as ``config`` says and return the result, the document of schema ``lrnet.train/1``.

    The run folder is complete when this returns. Once ``should_stop`` is true, asked after every step, the run ends
    with the best weights so far, ``"interrupted": true`` and without reading the test set.

    Raises ``TrainingError``, ``DataError``, ``DeviceError`` or ``UsageError`` for what cannot be used.
    """
    reporter = reporter or Reporter()
    start = time.perf_counter()
    device = resolve_device(config.device, config.gpus)
    reporter.message(f"Device: {describe_device(device)}.")
    seed = config.seed if config.seed is not None else secrets.randbelow(2**31)
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
    batch_size = config.batch_size or _batch_size_for(len(train_split))
    batch_size = min(batch_size, len(train_split))
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA asks for, to be deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    torch.manual_seed(seed)
    arch_args = {
        "in_channels": dataset.preprocessing.channels,
        "image_size": dataset.preprocessing.image_size,
        "num_classes": len(dataset.classes),
    }
    model = place(build(config.arch, dropout=config.dropout, **arch_args), device)
    run_dir = create_run_dir(config, dataset.name)
    write_config(run_dir, config, seed=seed, batch_size=batch_size, device=describe_device(device))
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

    order = np.random.default_rng(seed)
    statistics_images = train_split.take(_draw(order, len(train_split))[:_STATISTICS_IMAGES]).images.to(device)
    train_split, val_split = train_split.to(device), val_split.to(device)
    steps = len(train_split) // batch_size
    optimizer, schedule = _optimizer(model, config, steps)
    rows: list[EpochRow] = []
    best: EpochRow | None = None
    interrupted = False
    for epoch in range(1, config.epochs + 1):
        epoch_start = time.perf_counter()
        model.train()
        sums = torch.zeros(2, device=device)  # loss and hits
        permutation = _draw(order, len(train_split)).to(device)
        for step in range(steps):
            # The pictures beyond the last full batch wait for another epoch's order: one shape serves every step.
            batch = train_split.take(permutation[step * batch_size : (step + 1) * batch_size])
            logits = model(as_input(batch.images))
            loss = head_loss(logits, batch.labels, config.head)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            sums += torch.stack([loss.detach(), (logits.detach().argmax(1) == batch.labels).float().mean()])
            reporter.step(epoch, step + 1, steps)
            if interrupted := should_stop():
                break
        if interrupted:
            break
        train_loss, train_accuracy = (sums / steps).tolist()  # waits for the device, so that the clock is honest
        step_seconds = time.perf_counter() - epoch_start
        if not math.isfinite(train_loss):
            kept = f" {run_dir / WEIGHTS_NAME} holds the best epoch before that." if best else ""
            raise TrainingError(f"The training loss became {train_loss} in epoch {epoch}; try a lower --lr.{kept}")
        _recompute_batch_statistics(model, statistics_images, batch_size)
        validated = evaluate(model, val_split, dataset.name, dataset.classes, config.head).metrics
        row = EpochRow(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=validated.loss,
            val_accuracy=validated.accuracy,
            learning_rate=optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - epoch_start,
            train_images_per_second=steps * batch_size / step_seconds,
        )
        rows.append(row)
        is_best = best is None or (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss)
        if best is None or is_best:
            best = row
            found = {"val_accuracy": row.val_accuracy, "val_loss": row.val_loss, "val_ece": validated.ece}
            card = replace(card, metrics=found | {"best_epoch": epoch})
            save_weights(run_dir / WEIGHTS_NAME, model, card)
        write_rows(run_dir, rows)
        reporter.epoch(row, is_best)
        if config.patience is not None and epoch - best.epoch >= config.patience:
            reporter.message(f"No better validation accuracy for {config.patience} epochs; stopping early.")
            break
        if interrupted := should_stop():
            break
    if best is None:
        raise TrainingError(f"The run ended before its first epoch did; {run_dir} holds no weights.")

    result: dict[str, Any] = {
        "schema": "lrnet.train/1",
        "run_dir": str(run_dir),
        "weights": str(run_dir / WEIGHTS_NAME),
        "arch": config.arch,
        "dataset": dataset.name,
        "epochs": len(rows),
        "best_epoch": best.epoch,
        "val_accuracy": best.val_accuracy,
        **_test_figures(None),
        "train_images_per_second": statistics.harmonic_mean([row.train_images_per_second for row in rows]),
        "seconds": time.perf_counter() - start,
        "seed": seed,
        "device": describe_device(device),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "interrupted": True,
    }
    # The folder is complete before the test images are read, so that a run that is killed there is not lost.
    write_model_card(run_dir, card, describe_device(device), None)
    write_result(run_dir, result)
    paths.record_run(run_dir)
    if interrupted:
        return result
    reporter.message(f"Reading the {len(dataset.test)} test images, once, with the weights of epoch {best.epoch}.")
    best_model = place(load_weights(run_dir / WEIGHTS_NAME)[0], device)
    test = evaluate(best_model, dataset.test.to(device), dataset.name, dataset.classes, config.head).metrics
    card = replace(card, metrics=card.metrics | _test_figures(test))
    save_weights(run_dir / WEIGHTS_NAME, best_model, card)
    result |= _test_figures(test) | {"seconds": time.perf_counter() - start, "interrupted": False}
    write_model_card(run_dir, card, describe_device(device), test)
    write_result(run_dir, result)
    return result


def _test_figures(test: Metrics | None) -> dict[str, Any]:
    return {
        "test_accuracy": test.accuracy if test else None,
        "test_accuracy_ci95": list(test.accuracy_ci95) if test else None,
        "test_loss": test.loss if test else None,
        "test_ece": test.ece if test else None,
    }


def _cut_validation(dataset: Dataset, config: TrainConfig, seed: int) -> tuple[Split, Split, str]:
    """Return training and validation images, and how the latter came about, in words."""
    if dataset.val is not None:
        return limited(dataset.train, config.limit, seed), dataset.val, "the data set's own"
    available = limited(dataset.train, config.limit, seed)
    kept, cut = stratified_cut(available.labels, config.val_fraction, seed)
    if not len(cut) or len(kept) < 2:
        raise DataError(
            f"{dataset.name}: {len(available)} training images are too few to set {config.val_fraction:g} of each "
            "class aside for validation; give more images or a higher --val-fraction."
        )
    return available.take(kept), available.take(cut), f"{config.val_fraction:g} of the training images, cut by class"


def _batch_size_for(images: int) -> int:
    """Return the largest power of two that leaves 40 steps an epoch, between 16 and 128."""
    wanted = max(1, images // _STEPS_AN_EPOCH)
    return min(_LARGEST_BATCH, max(_SMALLEST_BATCH, 1 << (wanted.bit_length() - 1)))


def _draw(order: np.random.Generator, n: int) -> Tensor:
    return torch.from_numpy(order.permutation(n))


def _optimizer(
    model: nn.Module, config: TrainConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return optimiser and schedule; weight decay leaves norms and biases alone."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(groups, lr=config.lr)
    if config.schedule == "constant":
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.epochs * steps)


def _recompute_batch_statistics(model: nn.Module, images: Tensor, batch_size: int) -> None:
    """Set the running statistics of every batch norm to the mean over ``images`` and turn to evaluation mode.

    With LR-Net's momentum of 0.01 the running averages of a short training lag hundreds of steps behind its weights
    ("precise batch norm", Wu and Johnson 2021, arXiv:2105.07576).
    """
    batches = images.split(batch_size)
    update_bn((as_input(batch) for batch in batches if len(batch) == len(batches[0])), model)
    model.eval()


def _recipe(config: TrainConfig, batch_size: int) -> dict[str, Any]:
    names = ("preset", "epochs", "lr", "weight_decay", "dropout", "optimizer", "schedule", "patience", "limit")
    return {name: getattr(config, name) for name in names} | {"batch_size": batch_size}
