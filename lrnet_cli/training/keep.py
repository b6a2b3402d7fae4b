"""What a run leaves while it trains: rows, the weights to keep, checkpoints."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from lrnet_cli.errors import TrainingError
from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.reporter import EpochRow
from lrnet_cli.runs.folder import write_curves, write_rows
from lrnet_cli.training.certainty import altered, calibrated, score_of
from lrnet_cli.training.checkpoint import save_checkpoint
from lrnet_cli.training.clock import Clock
from lrnet_cli.training.optimizers import learning_rate
from lrnet_cli.training.run import Forerunner, Run
from lrnet_cli.training.state import recompute_batch_statistics
from lrnet_cli.training.step import Step
from lrnet_cli.weights.card import WeightsCard, supervised
from lrnet_cli.weights.file import load_weights, save_weights

_NEXT_NAME = "model.next.safetensors"  # weights to be kept, until a checkpoint knows of them
_BEARABLE = 0.01  # of the clean validation images, or one of them, that ``--robust auto`` may cost
_CURVES_SECONDS = 10.0  # between two drawings, of which each takes a third of a second


class Keep:
    """Writes a run's files while it trains; of several processes only the first one writes."""

    def __init__(self, run: Run, step: Step, clock: Clock) -> None:
        self.run, self.step, self.clock = run, step, clock
        robust = run.config.robust_strength
        self._drawn = time.monotonic()
        self._altered = altered(run.val_split, robust, run.card.seed) if robust else None

    @property
    def kept(self) -> EpochRow | None:
        """The epoch whose weights are kept so far, if one is over."""
        config, images = self.run.config, len(self.run.val_split)
        cost = max(_BEARABLE, 1 / images) if config.robust == "auto" else math.inf
        return kept_of(self.run.state.rows, math.inf if config.select == "loss" else images, cost)

    def checkpoint(self) -> None:
        """Write everything that the run needs to be resumed from here."""
        self.run.state.elapsed = self.clock.elapsed
        if self.run.processes.is_first:
            save_checkpoint(self.run.folder, self.run.state, self.run.card.dataset["content_sha256"])
            next_one = self.run.folder / _NEXT_NAME
            if next_one.exists():
                next_one.replace(self.run.folder / WEIGHTS_NAME)
        self.clock.note_checkpoint()

    def take_up(self) -> None:
        """Settle what a kill left beside the checkpoint: weights that it knows of are kept, others will come anew."""
        path = self.run.folder / _NEXT_NAME
        if not self.run.processes.is_first or not path.exists():
            return
        if self.kept is not None and load_weights(path)[1].metrics["best_epoch"] == self.kept.epoch:
            path.replace(self.run.folder / WEIGHTS_NAME)
        else:
            path.unlink()

    def forerunner(self, one: Forerunner) -> None:
        """Keep ``one``, as epoch 0, until an epoch is at least as good."""
        self._validate(one.model, 0, *one.means)
        self.checkpoint()

    def epoch(self, train_loss: float, train_accuracy: float) -> None:
        """End an epoch: validate its network, write its row, its weights if they are kept, and a checkpoint.

        Raises ``TrainingError`` if the loss is not a number.
        """
        run, state = self.run, self.run.state
        if not math.isfinite(train_loss):
            kept = f" {run.folder / WEIGHTS_NAME} holds the epoch kept before that." if state.rows else ""
            raise TrainingError(
                f"The training loss became {train_loss} in epoch {state.epoch}; try a lower --lr.{kept}"
            )
        row = self._validate(state.evaluated, state.epoch, train_loss, train_accuracy)
        speed = self.clock.images_per_second
        state.epoch, state.step = state.epoch + 1, 0
        state.sums.zero_()
        self.checkpoint()
        run.reporter.epoch(row, self.kept is row, speed)

    def _validate(self, model: nn.Module, epoch: int, train_loss: float, train_accuracy: float) -> EpochRow:
        """Return the row of ``epoch``, after which the network is ``model``; keep that if it is good enough."""
        run, state = self.run, self.run.state
        network = run.engine.place(model, run.normalize, run.processes)
        recompute_batch_statistics(network, self.step.statistics_images, run.batch_size, run.processes)
        validated = evaluate(network, run.val_split, run.card, run.processes)
        self.clock.note_validation(validated.images_per_second)
        of_altered = evaluate(network, self._altered, run.card, run.processes) if self._altered is not None else None
        row = EpochRow(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=validated.metrics.loss,
            val_accuracy=validated.metrics.accuracy,
            learning_rate=learning_rate(run.config, self.clock.progress),
            val_score=score_of(run.config.select, validated, of_altered),
        )
        state.rows.append(row)
        if run.processes.is_first:
            self._write_epoch(row, model, calibrated(self.card(epoch), row, validated, of_altered))
        return row

    def card(self, epoch: int) -> WeightsCard:
        """Return the card of the network of ``epoch``; it does not claim moves or mirror images that were not made."""
        card = self.run.card if epoch else supervised(self.run.card)
        if self.run.state.moved or not self.run.config.augment:
            return card
        recipe = card.protocol["recipe"] | {"shift": 0.0, "scale": 0.0, "shear": 0.0, "deform": 0.0, "flip": "off"}
        return replace(card, protocol=card.protocol | {"recipe": recipe})

    def _write_epoch(self, row: EpochRow, model: nn.Module, card: WeightsCard) -> None:
        run, state = self.run, self.run.state
        if run.config.keep_epochs:
            (run.folder / "epochs").mkdir(exist_ok=True)
            save_weights(run.folder / "epochs" / f"{row.epoch:03}.safetensors", model, card)
        if self.kept is row:
            save_weights(run.folder / _NEXT_NAME, model, card)
        write_rows(run.folder, state.rows)
        if time.monotonic() - self._drawn >= _CURVES_SECONDS:
            write_curves(run.folder, state.rows)
            self._drawn = time.monotonic()


def kept_of(rows: Sequence[EpochRow], images: float, cost: float = math.inf) -> EpochRow | None:
    """Return the epoch of ``rows`` to keep: the latest that is as good as the best, within one standard error.

    Only those count whose accuracy is at most ``cost`` below the highest so far.

    Scores are shares of so many ``images``; of infinitely many, only the best counts. A learning rate that falls to 0
    makes later epochs the better ones, which a few validation images cannot tell: the luckiest of many epochs is an
    early one too often (the one-standard-error rule, Breiman et al. 1984, section 3.4.3). Epoch 0 is another network:
    what follows it must be at least as good.
    """
    kept, least, counted, best = None, -math.inf, list[EpochRow](), -math.inf
    for row in rows:  # one by one: an epoch that was not kept when it was over is lost
        if row.val_accuracy - cost > least:
            least = row.val_accuracy - cost
            counted = [one for one in counted if one.val_accuracy >= least]
            best = max((one.score for one in counted), default=-math.inf)
        if row.val_accuracy < least:
            continue
        counted.append(row)
        best = max(best, row.score)
        # All right by chance is no certainty.
        likely = best if math.isinf(images) else (best * images + 2) / (images + 4)
        needed = best - math.sqrt(likely * max(0.0, 1 - likely) / images)
        if counted[0].epoch == 0:
            needed = max(needed, counted[0].score)
        if kept is None or kept.val_accuracy < least or row.score >= needed:
            kept = row
    return kept
