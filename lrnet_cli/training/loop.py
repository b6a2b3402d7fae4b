"""Training: load, split, step, validate, keep the best, test once."""

import math
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.data.augment import Augmentation, augment
from lrnet_cli.data.catalog import CATALOG, KNOWN_NAMES, canonical_name
from lrnet_cli.data.datasets import Dataset, Split, limited, load_dataset, stratified_cut
from lrnet_cli.devices import describe_device
from lrnet_cli.engine import Engine, place
from lrnet_cli.errors import DataError, InterruptedRunError, LostProcessError, TrainingError, UsageError
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate
from lrnet_cli.evaluation.metrics import compute_metrics, fit_temperature, head_loss
from lrnet_cli.inference import as_input
from lrnet_cli.models.registry import build, summary_of
from lrnet_cli.processes import Processes, joined
from lrnet_cli.training.checkpoint import load_checkpoint, save_checkpoint
from lrnet_cli.training.config import TrainConfig, changed
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
_FLIP_STREAM = 2**32  # beyond every epoch's number
# Compilation, as measured on two AVX-512 cores: it takes about a minute and saves at least a quarter of the time.
_STEPS_BEFORE_COMPILING, _COMPILE_SECONDS, _COMPILE_SAVES = 10, 60.0, 0.25
_PREDICTION_SHARE = 0.45  # of the time of a training step, for as many pictures: measured, with a margin


def train(
    config: TrainConfig, reporter: Reporter | None = None, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Train a network as ``config`` says and return the result, the document of schema ``lrnet.train/1``.

    The run folder is complete when this returns. Once ``should_stop`` is true, asked after every step, the run ends
    with a checkpoint, the best weights so far, ``"interrupted": true`` and without reading the test set. In a process
    that ``torchrun`` started, all of them train together; the first one writes, reports and decides when to stop.

    Raises ``TrainingError``, ``DataError``, ``DeviceError`` or ``UsageError`` for what cannot be used, and
    ``InterruptedRunError`` if it is stopped before there are any weights.
    """
    path = Path(config.dataset).expanduser()
    if canonical_name(config.dataset) not in KNOWN_NAMES and path.exists():
        config = replace(config, dataset=str(path.resolve()))  # a run may be resumed from another working folder
    return _run(config, None, reporter or Reporter(), should_stop)


def resume(
    run_dir: Path,
    changes: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Go on with the run in ``run_dir`` from its last checkpoint, and return its result as ``train`` does.

    On the same CPU and versions the outcome is that of a run that was never stopped, bit for bit, unless its schedule
    follows the clock (``max_time``). ``changes`` may raise ``epochs`` or ``max_time``, whose longer schedule the
    learning rate then follows from here on, and give another ``device``, ``gpus`` or ``procs``. A run that is done
    returns its result.
    """
    reporter = reporter or Reporter()
    before, recorded = read_config(run_dir)
    config = changed(before, **(changes or {}))
    result = read_result(run_dir)
    is_longer = (config.epochs, config.max_time) != (before.epochs, before.max_time)
    if result is not None and not result["interrupted"] and not is_longer:
        reporter.message(f"{run_dir} is done already; raise --epochs or --max-time to train on.")
        return result
    others = [
        f"{name} {recorded.get(name)} then, {now} now" for name, now in versions().items() if recorded.get(name) != now
    ]
    if others:
        reporter.message(f"Versions have changed since the run began ({'; '.join(others)}): results may differ.")
    return _run(config, run_dir, reporter, should_stop)


def _run(
    config: TrainConfig, resumed: Path | None, reporter: Reporter, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    start = time.perf_counter()
    engine = Engine.choose(config.device, config.precision, fold=config.fold, gpus=config.gpus, procs=config.procs)
    with joined(engine.device) as processes:
        if not processes.is_first:
            reporter = Reporter()
        run_dir = resumed
        try:
            training = _prepare(config, resumed, engine, processes, reporter, should_stop, start)
            run_dir = training.run_dir
            return training.run()
        except RuntimeError as error:
            # Gloo has no exception of its own, but names its source file.
            if not processes.together or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            way_on = f"Go on with: lrnet train --resume {run_dir}" if run_dir else "It had not begun to train"
            raise LostProcessError(f"Another process of this run has ended. {way_on}") from error


def _prepare(
    config: TrainConfig,
    resumed: Path | None,
    engine: Engine,
    processes: Processes,
    reporter: Reporter,
    should_stop: Callable[[], bool],
    start: float,
) -> "_Training":
    """Load and cut the data, build the network and create the run folder, or take up the run in ``resumed``."""
    seed = processes.agree(config.seed if config.seed is not None else secrets.randbelow(2**31))
    beside = f", {processes.count} processes" if processes.together else ""
    reporter.message(f"Device: {engine}{beside}.")
    with processes.first_goes_ahead():
        dataset = load_dataset(
            config.dataset,
            data_dir=config.data_dir,
            mirror=config.mirror,
            image_size=config.image_size,
            channels=config.channels,
            fold=(config.test_fold, config.folds) if config.test_fold and config.folds else None,
            on_progress=reporter.download,
            on_message=reporter.message,
        )
        train_split, val_split, validation = _cut_validation(dataset, config, seed)
        batch_size = _batch_size(config.batch_size, len(train_split), processes.count)
    config = replace(config, seed=seed, batch_size=batch_size)
    arch_args = {
        "in_channels": dataset.preprocessing.channels,
        "image_size": dataset.preprocessing.image_size,
        "num_classes": len(dataset.classes),
    }
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA asks for, to be deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    torch.manual_seed(seed)
    model = place(build(config.arch, dropout=config.dropout, **arch_args), engine.device)
    state = TrainingState.start(model, config, engine.device)
    run_dir = resumed or processes.agree(create_run_dir(config, dataset.name) if processes.is_first else None)
    if resumed is not None and load_checkpoint(run_dir, state, dataset.content_sha256, reporter.message):
        reporter.message(f"Going on with epoch {state.epoch}, after {state.step} of its steps.")
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
        protocol={"validation": validation, "recipe": _recipe(config, _flips(config, dataset.name))}
        | ({"test_fold": [config.test_fold, config.folds]} if config.test_fold else {}),
        versions=versions(),
    )
    reporter.message(
        f"Training {config.arch} on {dataset.name}: {len(train_split)} training, {len(val_split)} validation and "
        f"{len(dataset.test)} test images in {len(dataset.classes)} classes; seed {seed}; run folder {run_dir}."
    )
    return _Training(
        config=config,
        card=card,
        engine=engine,
        processes=processes,
        state=state,
        train_split=train_split.to(engine.device),
        val_split=val_split.to(engine.device),
        test_split=dataset.test,
        run_dir=run_dir,
        batch_size=batch_size,
        reporter=reporter,
        should_stop=should_stop,
        start=start - state.elapsed,
    )


@dataclass
class _Training:
    """A run that is ready to train. ``start`` is when it began by the clock, had it never been stopped."""

    config: TrainConfig
    card: WeightsCard
    engine: Engine
    processes: Processes
    state: TrainingState
    train_split: Split
    val_split: Split
    test_split: Split
    run_dir: Path
    batch_size: int
    reporter: Reporter
    should_stop: Callable[[], bool]
    start: float

    def __post_init__(self) -> None:
        self.steps = len(self.train_split) // self.batch_size
        self.network = self.engine.ready(self.state.model, self.processes)
        self.forward: Callable[[Tensor], Tensor] = self.network
        self.ranges = Augmentation(**{name: getattr(self.config, name) for name in Augmentation.__annotations__})
        self.flips = _flips(self.config, self.card.dataset["name"])
        size, device = len(self.train_split), self.engine.device
        # Alternating flips (airbench, Jordan 2024, arXiv:2404.00498): every epoch mirrors what the last one did not.
        self.phase = torch.from_numpy(_draws(self.card.seed, _FLIP_STREAM).integers(0, 2, size)).to(device)
        sample = _permutation(self.card.seed, 0, size)[:_STATISTICS_IMAGES].to(device)
        self.statistics_images = self.train_split.take(sample).images
        self.ticks: deque[float] = deque(maxlen=101)  # when the last steps ended
        self.pace = 0.0  # seconds a step

    def run(self) -> dict[str, Any]:
        """Train to the end, or until stopped; then test; return the result."""
        try:
            return self._run()
        except OSError as error:
            raise TrainingError(
                f"{error.filename or self.run_dir}: cannot be written ({error.strerror or error}). Make room or rights "
                f"there and go on with: lrnet train --resume {self.run_dir}"
            ) from error

    def _run(self) -> dict[str, Any]:
        before = read_result(self.run_dir)
        test_reads = before["test_reads"] if before is not None else 0
        state, device = self.state, describe_device(self.engine.device)
        if self.processes.is_first:
            write_config(
                self.run_dir,
                self.config,
                device=device,
                precision=self.engine.precision,
                processes=self.processes.count,
            )
        self.reporter.start(self.run_dir, self.config.epochs)
        stopped = self._fit()
        best = state.best
        if best is None:
            raise InterruptedRunError(
                "Stopped before the first epoch ended, so there are no weights yet; go on with: "
                f"lrnet train --resume {self.run_dir}"
            )
        result: dict[str, Any] = {
            "schema": "lrnet.train/1",
            "run_dir": str(self.run_dir),
            "weights": str(self.run_dir / WEIGHTS_NAME),
            "arch": self.config.arch,
            "dataset": self.card.dataset["name"],
            "epochs": len(state.rows),
            "best_epoch": best.epoch,
            "val_accuracy": best.val_accuracy,
            "test_images": len(self.test_split),
            **_test_figures(None),
            "test_images_per_second": None,
            "train_images_per_second": state.taken * self.batch_size / state.seconds,
            "seconds": self._clock(),
            "seed": self.card.seed,
            "device": device,
            "precision": self.engine.precision,
            "compiled": bool(state.compiled),
            "processes": self.processes.count,
            **self._costs(),
            "test_reads": test_reads,
            "interrupted": stopped or self.config.test,
        }
        # The folder is complete before the test images are read, so that a run that is killed there is not lost.
        self._finish(result, None)
        if stopped or not self.config.test:
            return result
        self.reporter.message(
            f"Reading the {len(self.test_split)} test images, once, with the weights of epoch {best.epoch}."
        )
        self.processes.wait()  # for the first one to have written the weights
        model, card = load_weights(self.run_dir / WEIGHTS_NAME)
        test_split = self.test_split.to(self.engine.device)
        test = self._evaluate(self.engine.ready(model), test_split, card.temperature)
        result |= _test_figures(test) | {
            "test_images_per_second": test.images_per_second,
            "seconds": self._clock(),
            "interrupted": False,
            "test_reads": test_reads + 1,
        }
        self._finish(result, test)
        return result

    def _costs(self) -> dict[str, int]:
        summary = summary_of(self.card.arch, **self.card.arch_args)
        return {"parameters": summary.parameters, "multiply_adds": summary.multiply_adds}

    def _finish(self, result: dict[str, Any], test: Evaluation | None) -> None:
        """Write what the run folder tells of ``result``, and note the run as the user's newest."""
        if not self.processes.is_first:
            return
        model, card = load_weights(self.run_dir / WEIGHTS_NAME)
        if test is not None:
            card = replace(card, metrics=card.metrics | _test_figures(test))
            save_weights(self.run_dir / WEIGHTS_NAME, model, card)
        write_model_card(self.run_dir, self.config, card, result["device"], test, result["test_reads"])
        write_result(self.run_dir, result)
        try:
            paths.record_run(self.run_dir)
        except OSError as error:
            self.reporter.message(
                f"{error.filename}: cannot be written; name this run to `lrnet predict` with --weights."
            )

    def _fit(self) -> bool:
        """Train to the end, keeping the best weights; return whether it was stopped before."""
        state, config = self.state, self.config
        # What compiling saves was measured for LR-Net on CPUs and GPUs.
        unmeasured = self.engine.device.type == "mps" or config.arch != "lrnet"
        if state.compiled is None and (config.compile != "auto" or unmeasured):
            state.compiled = config.compile == "on"
        if state.compiled:
            self._compile()
        progress, stop = self._position()
        saved_at = time.perf_counter()
        while (config.epochs is None or state.epoch <= config.epochs) and not (state.rows and progress >= 1):
            # Asked here, so that a run that was killed after its last epoch does not train on when it is resumed.
            if config.patience is not None and state.epochs_without_gain >= config.patience:
                self.reporter.message(f"No better validation accuracy for {config.patience} epochs; stopping early.")
                break
            permutation = _permutation(self.card.seed, state.epoch, len(self.train_split)).to(self.engine.device)
            self.network.train()
            self.ticks.clear()
            steps_before, seconds_before, begun = state.step, state.seconds, time.perf_counter()
            while state.step < self.steps and not (state.step and progress >= 1):
                # The pictures beyond the last full batch wait for another epoch's order: one shape serves every step.
                batch = permutation[state.step * self.batch_size : (state.step + 1) * self.batch_size]
                self._step(self.processes.own_rows(batch), progress)
                if state.compiled is None and state.taken >= _STEPS_BEFORE_COMPILING:
                    begun += self._decide_on_compiling()  # which is no time of steps
                self.reporter.step(state.epoch, state.step, self.steps)
                progress, stop = self._position()
                if stop or self._is_due(saved_at):
                    state.seconds += time.perf_counter() - begun
                    self._save()
                    begun = saved_at = time.perf_counter()
                if stop:
                    return True
            train_loss, train_accuracy = (state.sums / state.step).tolist()  # waits for the device: an honest clock
            state.seconds += time.perf_counter() - begun
            speed = (state.step - steps_before) * self.batch_size / max(state.seconds - seconds_before, 1e-9)
            if not math.isfinite(train_loss):
                kept = f" {self.run_dir / WEIGHTS_NAME} holds the best epoch before that." if state.rows else ""
                raise TrainingError(
                    f"The training loss became {train_loss} in epoch {state.epoch}; try a lower --lr.{kept}"
                )
            is_best = self._validate(train_loss, train_accuracy, progress)
            state.epoch, state.step = state.epoch + 1, 0
            state.sums.zero_()
            self._save()
            saved_at = time.perf_counter()
            self.reporter.epoch(state.rows[-1], is_best, speed)
            progress, stop = self._position()
            if stop:
                return True
        return False

    def _step(self, batch: Tensor, progress: float) -> None:
        """Take one step on the pictures at the indices ``batch``, this process's part of the global batch."""
        state, config = self.state, self.config
        rate = learning_rate(config, progress)
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        state.model.zero_grad()
        logits, labels = self.forward(self._inputs(batch)), self.train_split.labels[batch]
        loss = head_loss(logits, labels, config.head, config.label_smoothing)
        loss.backward()
        self.processes.average_gradients(state.model)
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm, foreach=True)
        for optimizer in state.optimizers:
            optimizer.step()
        if state.average is not None:
            state.average.update_parameters(state.model)
        hits = (logits.detach().argmax(1) == labels).float().mean()
        state.sums += self.processes.average(torch.stack([loss.detach(), hits]))
        state.step += 1
        state.taken += 1
        self.ticks.append(time.perf_counter())
        if len(self.ticks) > 1:
            self.pace = (self.ticks[-1] - self.ticks[0]) / (len(self.ticks) - 1)

    def _inputs(self, batch: Tensor) -> Tensor:
        images = as_input(self.train_split.images[batch])
        if not self.config.augment:
            return images
        mirrored = (self.phase[batch] + self.state.epoch) % 2 == 1
        return augment(images, self.ranges, mirrored & self.flips, self.processes)

    def _validate(self, train_loss: float, train_accuracy: float, progress: float) -> bool:
        """End an epoch: measure the network to keep, write its row, and its weights if it is the best; tell whether."""
        state = self.state
        evaluated = self.engine.ready(state.evaluated, self.processes)
        recompute_batch_statistics(evaluated, self.statistics_images, self.batch_size, self.processes)
        validated = self._evaluate(evaluated, self.val_split)
        row = EpochRow(
            epoch=state.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=validated.metrics.loss,
            val_accuracy=validated.metrics.accuracy,
            learning_rate=learning_rate(self.config, progress),
        )
        state.rows.append(row)
        if self.processes.is_first:
            card = _calibrated(self.card, validated, row)
            if self.config.keep_epochs:
                (self.run_dir / "epochs").mkdir(exist_ok=True)
                save_weights(self.run_dir / "epochs" / f"{row.epoch:03}.safetensors", state.evaluated, card)
            if state.best is row:
                save_weights(self.run_dir / WEIGHTS_NAME, state.evaluated, card)
            write_rows(self.run_dir, state.rows)
        return state.best is row

    def _evaluate(self, model: nn.Module, split: Split, temperature: float = 1.0) -> Evaluation:
        data, card = self.card.dataset["name"], self.card
        return evaluate(model.eval(), split, data, card.classes, card.head, self.processes, temperature=temperature)

    def _clock(self) -> float:
        return time.perf_counter() - self.start

    def _position(self) -> tuple[float, bool]:
        """Return the share of the run that is over, in [0, 1], and whether to stop; the same in every process."""
        state, config = self.state, self.config
        shares = [0.0]
        if config.epochs is not None:
            shares.append(state.taken / (config.epochs * self.steps))
        if config.max_time is not None:
            # What follows the last step needs its time too: batch statistics, validation and test.
            later = len(self.val_split) + config.test * len(self.test_split) + 2 * len(self.statistics_images)
            reserve = _PREDICTION_SHARE * self.pace / self.batch_size * later
            shares.append(self._clock() / max(config.max_time - reserve, 1e-9))
        progress, stop = self.processes.agree((min(max(shares), 1.0), self.should_stop()))
        return float(progress), bool(stop)

    def _is_due(self, saved_at: float) -> bool:
        return self.processes.is_first and time.perf_counter() - saved_at > _CHECKPOINT_SECONDS

    def _save(self) -> None:
        self.state.elapsed = self._clock()
        if self.processes.is_first:
            save_checkpoint(self.run_dir, self.state, self.card.dataset["content_sha256"])

    def _decide_on_compiling(self) -> float:
        """Compile the step if the steps that are left, at the pace so far, will earn it back; return the seconds."""
        begun = time.perf_counter()
        state, config = self.state, self.config
        left = [math.inf]
        if config.epochs is not None:
            left.append((config.epochs * self.steps - state.taken) * self.pace)
        if config.max_time is not None:
            left.append(config.max_time - self._clock())
        state.compiled = self.processes.agree(min(left) * _COMPILE_SAVES > _COMPILE_SECONDS)
        if state.compiled:
            self.reporter.message(
                f"Compiling the training step, which about {min(left) / 60:.0f} minutes of training will earn back."
            )
            self._compile()
        return time.perf_counter() - begun

    def _compile(self) -> None:
        """Compile the network's training passes and leave no other trace; without a compiler go on as before."""
        begun = time.perf_counter()
        compiled = torch.compile(self.network.train())
        buffers = {name: buffer.clone() for name, buffer in self.state.model.named_buffers()}
        device = self.engine.device
        batch = torch.arange(self.batch_size // self.processes.count, device=device)
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                logits = compiled(self._inputs(batch))  # laid out as in a step, or that would compile once more
                head_loss(logits, self.train_split.labels[batch], self.config.head).backward()
            self.forward = compiled
            self.reporter.message(f"Compiled in {time.perf_counter() - begun:.0f} s.")
        except Exception as error:  # whatever a compiler, or the lack of one, may raise
            self.state.compiled = False
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.reporter.message(f"Training goes on without compiling, which failed: {reason}")
        finally:
            for name, buffer in self.state.model.named_buffers():
                buffer.copy_(buffers[name])
            self.state.model.zero_grad()
            self.ticks.clear()


def _calibrated(card: WeightsCard, validated: Evaluation, row: EpochRow) -> WeightsCard:
    """Return ``card`` with the temperature that fits the validation split, and the figures of that split."""
    temperature = fit_temperature(validated.logits, validated.labels, card.head)
    calibrated = compute_metrics(validated.logits / temperature, validated.labels, card.classes, card.head)
    figures = {
        "best_epoch": row.epoch,
        "val_accuracy": row.val_accuracy,
        "val_loss": calibrated.loss,
        "val_ece": calibrated.ece,
        "val_ece_uncalibrated": validated.metrics.ece,
    }
    return replace(card, temperature=temperature, metrics=figures)


def _test_figures(test: Evaluation | None) -> dict[str, Any]:
    """Return what repeats from run to run, and so may stand in the weight file."""
    return {
        "test_accuracy": test.metrics.accuracy if test else None,
        "test_accuracy_ci95": list(test.metrics.accuracy_ci95) if test else None,
        "test_loss": test.metrics.loss if test else None,
        "test_ece": test.metrics.ece if test else None,
        "test_ece_uncalibrated": test.ece_uncalibrated if test else None,
    }


def _flips(config: TrainConfig, dataset: str) -> bool:
    """Return whether the run mirrors pictures."""
    entry = CATALOG.get(dataset)
    wanted = config.flip == "on" or (config.flip == "auto" and entry is not None and entry.mirrored_keeps_class)
    return config.augment and wanted


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


def _batch_size(wanted: int | None, images: int, processes: int) -> int:
    """Return the global batch size: ``wanted``, or a power of two that leaves 32 steps an epoch, between 16 and 128.

    Every process takes an equal part, so what is chosen here is a multiple of their number.
    """
    if wanted is None:
        power = max(1, images // _STEPS_AN_EPOCH).bit_length() - 1
        wanted = -(-min(_LARGEST_BATCH, max(_SMALLEST_BATCH, 1 << power)) // processes) * processes
    elif wanted % processes:
        raise UsageError(
            f"--batch-size {wanted} cannot be shared by {processes} processes; "
            f"give a multiple, such as {-(-wanted // processes) * processes}."
        )
    if wanted > images:
        wanted = images // processes * processes
    if wanted < 2:
        raise DataError(f"{images} training images are too few for {processes} processes.")
    return wanted


def _permutation(seed: int, epoch: int, n: int) -> Tensor:
    """Return the order of an epoch's pictures, which depends on nothing else; epoch 0 is for batch statistics."""
    return torch.from_numpy(_draws(seed, epoch).permutation(n))


def _draws(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream])


def _recipe(config: TrainConfig, flips: bool) -> dict[str, Any]:
    names = (
        *("preset", "epochs", "max_time", "batch_size", "lr", "schedule", "optimizer", "weight_decay", "dropout"),
        *("label_smoothing", "clip_norm", "ema", "patience", "limit", "augment"),
        *(Augmentation.__annotations__ if config.augment else ()),
    )
    return {name: getattr(config, name) for name in names} | {"flip": "on" if flips else "off"}
