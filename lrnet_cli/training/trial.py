"""A short training that is forgotten: what it reaches on validation images tells which settings to train with."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import SILENT
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.data import Data
from lrnet_cli.training.run import assembled
from lrnet_cli.training.state import recompute_batch_statistics
from lrnet_cli.training.step import Step


@dataclass(frozen=True)
class Tried:
    """What a training made: a ``model``, the ``network`` to evaluate that is a view of it, and ``hits``.

    These, bool (N,), say which validation images it gets right. ``means`` are the loss and the accuracy of its last
    steps.
    """

    network: nn.Module
    hits: Tensor
    model: nn.Module
    means: tuple[float, float]

    @property
    def accuracy(self) -> float:
        """The accuracy on the validation images, in [0, 1]."""
        return float(self.hits.double().mean())


def tried_for(config: TrainConfig, data: Data, engine: Engine, seconds: float | None) -> Tried:
    """Train as ``config`` for ``seconds``, or, without these, for its epochs.

    The schedule fits the time. The global generator is left unchanged. Raises ``UsageError`` if a step does not fit
    into memory.
    """
    with torch.random.fork_rng([engine.device] if engine.device.type == "cuda" else []):
        run = assembled(config, data, engine, ALONE, SILENT)
        state, step = run.state, Step(run)
        step.network.train()
        begun, progress = time.perf_counter(), 0.0
        while progress < 1:
            for batch in step.batches_left():
                if step.begins_second_stage(progress):
                    step.begin_second_stage()
                left = math.inf if config.epochs is None else config.epochs - state.steps_taken / run.steps_per_epoch
                step(batch, progress, math.inf if seconds is not None else left)
                if seconds is not None:
                    progress = (time.perf_counter() - begun) / seconds
                else:
                    assert config.epochs is not None
                    progress = state.steps_taken / (config.epochs * run.steps_per_epoch)
                if progress >= 1:
                    break
            means = step.means()
            state.epoch, state.step = state.epoch + 1, 0
            state.sums.zero_()
        network = run.engine.place(state.evaluated, run.normalize)
        recompute_batch_statistics(network, step.statistics_images, run.batch_size)
        answers = evaluate(network, run.val_split, run.card)
        return Tried(network, answers.logits.argmax(1) == answers.labels, state.evaluated, means)
