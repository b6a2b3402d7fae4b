"""What changes while a network trains: everything that a stopped run needs to go on as if it had never stopped."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from lrnet_cli.inference import as_input
from lrnet_cli.training.config import TrainConfig
from lrnet_cli.training.reporter import EpochRow

_WARM_UP = 0.3  # share of a one-cycle run in which the learning rate rises
_FIRST_SHARE, _LAST_SHARE = 1 / 25, 1 / 250_000  # of the highest learning rate


@dataclass
class TrainingState:
    """The networks, the optimiser and the position of a run.

    ``average`` holds the moving average of the weights, if one is kept. ``epoch`` counts from 1; ``step`` is the number
    of steps taken in it, and ``sums`` adds up their loss and accuracy. ``seconds`` is the time spent in steps.
    """

    model: nn.Module
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    sums: Tensor
    epoch: int = 1
    step: int = 0
    rows: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def start(cls, model: nn.Module, config: TrainConfig, total_steps: int, device: torch.device) -> "TrainingState":
        """Return the state of a run of ``total_steps`` steps before its first one."""
        average = None
        if config.ema:
            decay = 1 - 1 / max(1.0, config.ema * total_steps)
            average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        return cls(model, average, _optimizer(model, config), torch.zeros(2, device=device))

    @property
    def evaluated(self) -> nn.Module:
        """The network to validate and to keep: the average where there is one."""
        return self.model if self.average is None else self.average.module

    @property
    def best(self) -> EpochRow | None:
        """The epoch with the best validation accuracy, the later one of two."""
        return max(self.rows, key=lambda row: (row.val_accuracy, row.epoch), default=None)

    @property
    def epochs_without_gain(self) -> int:
        """The number of epochs since the validation accuracy last rose."""
        first_best = max(self.rows, key=lambda row: (row.val_accuracy, -row.epoch), default=None)
        return len(self.rows) - first_best.epoch if first_best is not None else 0


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Return the learning rate at ``progress``, the share in [0, 1] of a run's steps that are taken.

    One-cycle (Smith and Topin 2018, arXiv:1708.07120): a cosine from a 25th of ``config.lr`` up to it over the first
    three tenths, then a cosine down to nearly nothing. A function of progress alone, it needs no state of its own.
    """
    if config.schedule == "constant":
        return config.lr
    if progress < _WARM_UP:
        low, share = _FIRST_SHARE, progress / _WARM_UP
    else:
        low, share = _LAST_SHARE, 1 - (progress - _WARM_UP) / (1 - _WARM_UP)
    return config.lr * (low + (1 - low) * (1 - math.cos(math.pi * share)) / 2)


def recompute_batch_statistics(model: nn.Module, images: Tensor, batch_size: int) -> None:
    """Set the running statistics of every batch norm to the mean over ``images`` and turn to evaluation mode.

    With LR-Net's momentum of 0.01 the running averages of a short training lag hundreds of steps behind its weights
    ("precise batch norm", Wu and Johnson 2021, arXiv:2105.07576), and an average of weights has none of its own.
    """
    batches = images.split(batch_size)
    update_bn((as_input(batch) for batch in batches if len(batch) == len(batches[0])), model)
    model.eval()


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay leaves norms and biases alone."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, fused=True)
