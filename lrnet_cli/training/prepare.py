"""From settings to a run that is ready to train: data, choices, network, run folder."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import Processes
from lrnet_cli.reporter import Reporter
from lrnet_cli.runs.folder import create_run_dir
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.checkpoint import load_checkpoint
from lrnet_cli.training.data import load_data
from lrnet_cli.training.inherit import teachers_logits
from lrnet_cli.training.run import Run, assembled
from lrnet_cli.training.settle import expected_seconds, settled
from lrnet_cli.training.tune import tuned
from lrnet_cli.training.unlabelled import with_unlabelled


def prepare(
    config: TrainConfig,
    resumed: Path | None,
    engine: Engine,
    processes: Processes,
    reporter: Reporter,
    should_stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Load and cut the data, build the network and create the run folder, or take up the run in ``resumed``.

    Nothing is written to a new folder, on which there is no lock yet. Raises what ``train`` raises.
    """
    config.check_processes(processes.count)  # torchrun starts some that the settings do not mention
    seed = processes.agree(config.with_seed().seed)
    reporter.message(f"Device: {engine}{f', {processes.count} processes' if processes.together else ''}.")
    with processes.first_goes_ahead():
        data = load_data(config, seed, reporter)
    dataset, config, forerunner = data.dataset, replace(config, seed=seed), None
    if config.unlabelled is not None:
        assert resumed is not None  # the folder, which was made for what is trained first
        config, data, forerunner = with_unlabelled(config, data, resumed, engine, reporter, should_stop)
    config = settled(config, data, engine, processes, reporter, begins=resumed is None)
    if config.tune is not None:
        config = tuned(config, data, engine, expected_seconds(config, data, engine, processes), reporter.message)
    _set_up_torch(config)
    run = assembled(config, data, engine, processes, reporter, resumed)
    if config.distill:
        taught = teachers_logits(config.distill, run.card, run.train_split, data.unseen, engine, reporter.message)
        run.state.taught = taught
    if forerunner is not None:
        run.state.elapsed = forerunner.before
    # What cannot be used has been refused by now, before there is a folder, unless something was trained before.
    run_dir = resumed or processes.agree(create_run_dir(config, dataset.name) if processes.is_first else None)
    if resumed is not None and load_checkpoint(run_dir, run.state, dataset.content_sha256, reporter.message):
        reporter.message(f"Resuming epoch {run.state.epoch}, after {run.state.step} of its steps.")
    reporter.message(
        f"Training {config.arch} on {dataset.name}: {len(data.train)} training, {len(data.val)} validation and "
        f"{len(dataset.test)} test images in {len(dataset.classes)} classes; seed {seed}; run folder {run_dir}."
    )
    return replace(run, folder=run_dir, forerunner=forerunner)


def _set_up_torch(config: TrainConfig) -> None:
    assert config.seed is not None
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA requires for deterministic results
    torch.use_deterministic_algorithms(config.deterministic)
    torch.manual_seed(config.seed)
