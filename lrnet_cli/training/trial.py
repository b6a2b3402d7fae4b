"""A short training that is forgotten: what it reaches on validation images tells which settings to train with."""

import math
import time

import torch

from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.registry import build
from lrnet_cli.processes import Processes
from lrnet_cli.reporter import SILENT
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.data import Data, card_of
from lrnet_cli.training.run import assembled
from lrnet_cli.training.state import recompute_batch_statistics
from lrnet_cli.training.step import Step


def accuracy_after(config: TrainConfig, data: Data, engine: Engine, processes: Processes, seconds: float) -> float:
    """Return the accuracy on the validation images of ``data``, in [0, 1], after ``seconds`` of training as ``config``.

    The schedule fits the time. The global generator is left unchanged.
    """
    with torch.random.fork_rng([engine.device] if engine.device.type == "cuda" else []):
        model = build(config.arch, dropout=config.dropout, **card_of(config, data).arch_args)
        run = assembled(config, data, model, engine, processes, SILENT)
        state, step = run.state, Step(run)
        step.network.train()
        begun, progress = time.perf_counter(), 0.0
        while progress < 1:
            for batch in step.batches_left():
                step(batch, progress, math.inf)
                progress = (time.perf_counter() - begun) / seconds
                if progress >= 1:
                    break
            state.epoch, state.step = state.epoch + 1, 0
        network = run.engine.place(state.evaluated, run.normalize)
        recompute_batch_statistics(network, step.statistics_images, run.batch_size)
        return evaluate(network, run.val_split, run.card).metrics.accuracy
