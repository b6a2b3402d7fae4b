"""What a run leaves: rows, the best weights, checkpoints, the result."""

import math
from dataclasses import replace
from statistics import fmean
from typing import Any

from lrnet_cli import paths
from lrnet_cli.devices import describe_device
from lrnet_cli.errors import InterruptedRunError, TrainingError
from lrnet_cli.escape import resuming
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate, recorded
from lrnet_cli.evaluation.predictions import write_predictions
from lrnet_cli.models.registry import summary_of
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.reporter import EpochRow
from lrnet_cli.runs.folder import Status, read_result, write_config, write_result, write_rows, write_skipped
from lrnet_cli.runs.model_card import write_model_card
from lrnet_cli.runs.suspects import predictions_of
from lrnet_cli.settings.recipe import robust_of
from lrnet_cli.settings.schedule import as_text
from lrnet_cli.settings.words import Select
from lrnet_cli.training.certainty import altered, calibrated, with_novelty
from lrnet_cli.training.checkpoint import save_checkpoint
from lrnet_cli.training.clock import Clock
from lrnet_cli.training.optimizers import learning_rate
from lrnet_cli.training.prepare import Run
from lrnet_cli.training.state import recompute_batch_statistics
from lrnet_cli.training.step import Step
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights


class Keep:
    """Writes a run's files to its folder; of several processes only the first one writes."""

    def __init__(self, run: Run, step: Step, clock: Clock) -> None:
        self._run, self._step, self._clock = run, step, clock
        before = read_result(run.folder)
        self._test_reads: int = (before or {}).get("test_reads", 0)
        self._device = describe_device(run.engine.device)
        if run.processes.is_first:  # a run that is killed from here on can be resumed
            write_config(
                run.folder,
                run.config,
                device=self._device,
                precision=run.engine.precision,
                processes=run.processes.count,
            )
            if run.skipped:
                write_skipped(run.folder, run.skipped)
        robust = robust_of(run.config)
        self._altered = altered(run.val_split, robust, run.card.seed) if robust else None

    def checkpoint(self) -> None:
        """Write everything that the run needs to be resumed from here."""
        self._run.state.elapsed = self._clock.elapsed
        if self._run.processes.is_first:
            save_checkpoint(self._run.folder, self._run.state, self._run.card.dataset["content_sha256"])
        self._clock.note_checkpoint()

    def epoch(self, train_loss: float, train_accuracy: float) -> None:
        """End an epoch: validate the network to keep, write its row, its weights if it is the best, and a checkpoint.

        Raises ``TrainingError`` if the loss is not a number.
        """
        run, state = self._run, self._run.state
        if not math.isfinite(train_loss):
            kept = f" {run.folder / WEIGHTS_NAME} holds the best epoch before that." if state.rows else ""
            raise TrainingError(
                f"The training loss became {train_loss} in epoch {state.epoch}; try a lower --lr.{kept}"
            )
        network = run.engine.place(state.evaluated, run.config.normalize, run.processes)
        recompute_batch_statistics(network, self._step.statistics_images, run.batch_size, run.processes)
        validated = evaluate(network, run.val_split, run.card, run.processes)
        self._clock.note_validation(validated.images_per_second)
        of_altered = evaluate(network, self._altered, run.card, run.processes) if self._altered is not None else None
        row = EpochRow(
            epoch=state.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=validated.metrics.loss,
            val_accuracy=validated.metrics.accuracy,
            learning_rate=learning_rate(run.config, self._clock.progress),
            val_score=_score(run.config.select, validated, of_altered),
        )
        state.rows.append(row)
        if run.processes.is_first:
            self._write_epoch(row, calibrated(self._card(), row, validated, of_altered))
        speed = self._clock.images_per_second
        state.epoch, state.step = state.epoch + 1, 0
        state.sums.zero_()
        self.checkpoint()
        run.reporter.epoch(row, state.best is row, speed)

    def _card(self) -> WeightsCard:
        """Return the run's card, which does not claim moves or mirror images that its steps did not make."""
        card = self._run.card
        if self._run.state.moved or not self._run.config.augment:
            return card
        recipe = card.protocol["recipe"] | {"shift": 0.0, "scale": 0.0, "shear": 0.0, "flip": "off"}
        return replace(card, protocol=card.protocol | {"recipe": recipe})

    def _write_epoch(self, row: EpochRow, card: WeightsCard) -> None:
        run, state = self._run, self._run.state
        if run.config.keep_epochs:
            (run.folder / "epochs").mkdir(exist_ok=True)
            save_weights(run.folder / "epochs" / f"{row.epoch:03}.safetensors", state.evaluated, card)
        if state.best is row:
            save_weights(run.folder / WEIGHTS_NAME, state.evaluated, card)
        write_rows(run.folder, state.rows)

    def result(self, status: Status) -> dict[str, Any]:
        """Complete the folder with the result of a run that was not tested, and return it.

        Raises ``InterruptedRunError`` if there are no weights yet.
        """
        run, state = self._run, self._run.state
        if state.best is None:
            raise InterruptedRunError(
                "Stopped before the first epoch ended, so there are no weights yet; resume with: "
                + resuming(run.folder)
            )
        costs = summary_of(run.card.arch, **run.card.arch_args)
        result: dict[str, Any] = {
            "schema": "lrnet.train/1",
            "run_dir": str(run.folder),
            "weights": str(run.folder / WEIGHTS_NAME),
            "arch": run.config.arch,
            "dataset": run.card.dataset["name"],
            "epochs": len(state.rows),
            "best_epoch": state.best.epoch,
            "val_accuracy": state.best.val_accuracy,
            "test_images": len(run.test_split),
            **recorded(None),
            "test_images_per_second": None,
            "train_images_per_second": state.steps_taken * run.batch_size / max(state.seconds, 1e-9),
            "seconds": self._clock.elapsed,
            "seed": run.card.seed,
            "device": self._device,
            "precision": run.engine.precision,
            "compiled": bool(state.compiled),
            "threads": as_text(state.threads) or None,
            "processes": run.processes.count,
            "parameters": costs.parameters,
            "multiply_adds": costs.multiply_adds,
            "test_reads": self._test_reads,
            "skipped": run.card.dataset.get("skipped", 0),
            "left_out": run.card.dataset.get("left_out", {}),
            "status": status,
        }
        if status != "interrupted":
            self._learn_novelty()
        self._complete(result, None)
        return result

    def _learn_novelty(self) -> None:
        """Add to the kept weights what tells pictures that are foreign to them."""
        run, path = self._run, self._run.folder / WEIGHTS_NAME
        run.processes.wait()  # until the first one has written the weights
        model, card = load_weights(path)
        card = with_novelty(card, model, self._step)
        if run.processes.is_first:
            save_weights(path, model, card)

    def tested(self, result: dict[str, Any]) -> dict[str, Any]:
        """Read the test images, once, with the weights that were kept, and add the results to the folder."""
        run = self._run
        run.reporter.message(
            f"Reading the {len(run.test_split)} test images, once, with the weights of epoch {result['best_epoch']}."
        )
        run.processes.wait()  # until the first one has written the weights
        model, card = load_weights(run.folder / WEIGHTS_NAME)
        network = run.engine.place(model, card.preprocessing.normalize).eval()
        test = evaluate(network, run.test_split.to(run.engine.device), card, run.processes)
        result |= recorded(test) | {
            "test_images_per_second": test.images_per_second,
            "seconds": self._clock.elapsed,
            "test_reads": self._test_reads + 1,
            "status": "finished",
        }
        if run.config.test_fold is not None and run.processes.is_first:
            write_predictions(predictions_of(run.folder), test, every_class=True)
        self._complete(result, test)
        return result

    def _complete(self, result: dict[str, Any], test: Evaluation | None) -> None:
        """Write the card and the result, and note the run as the user's newest."""
        run, path = self._run, self._run.folder / WEIGHTS_NAME
        if not run.processes.is_first:
            return
        model, card = load_weights(path)
        if test is not None:
            card = replace(card, metrics=card.metrics | recorded(test))
            save_weights(path, model, card)
        write_model_card(run.folder, run.config, card, result["device"], test, result["test_reads"])
        write_result(run.folder, result)
        if run.config.test_fold is not None:
            return  # the folds count together, as their series
        try:
            paths.record_run(run.folder)
        except OSError as error:
            run.reporter.message(f"{error.filename}: cannot be written; give `lrnet predict` this run with --weights.")


def _score(select: Select, clean: Evaluation, altered: Evaluation | None) -> float | None:
    """Return what decides which epoch is kept, the higher the better; None if that is the accuracy on clean pictures.

    With altered validation pictures it is the mean of both: a robust network is to be right on either.
    """
    if select == "accuracy" and altered is None:
        return None
    return fmean(_measured(select, item) for item in (clean, altered) if item is not None)


def _measured(select: Select, evaluation: Evaluation) -> float:
    metrics = evaluation.metrics
    seen = [row for row in metrics.per_class if row.support]
    if select == "loss":
        return -metrics.loss
    if select == "accuracy":
        return metrics.accuracy
    return fmean(row.recall if select == "balanced-accuracy" else row.f1 for row in seen)
