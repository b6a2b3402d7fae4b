"""What changes while a network trains: everything that a stopped run needs to continue as if it had never stopped."""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lrnet_cli.models.logits import as_input
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.reporter import EpochRow
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.optimizers import optimizers_of


@dataclass
class TrainingState:
    """The networks, the optimisers and the position of a run.

    ``average`` holds the moving average of the weights, if one is kept. ``epoch`` counts from 1; ``step`` is the number
    of steps taken in it, and ``sums`` adds up their loss and accuracy; ``steps_taken`` counts the steps of all epochs.
    ``seconds`` is the time spent in steps and ``elapsed`` that of the complete run. ``compiled`` is None until it is
    decided whether steps are compiled. ``moved`` says whether any step has moved or mirrored images. ``threads`` are
    the numbers of threads of the steps on a CPU, each with the number of steps before it. ``taught`` (N, classes) are
    logits for the training images to learn from, if there are any: teachers' or, in a second stage, the first one's.
    """

    model: nn.Module
    average: nn.Module | None
    optimizers: list[torch.optim.Optimizer]
    sums: Tensor
    epoch: int = 1
    step: int = 0
    steps_taken: int = 0
    rows: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0
    elapsed: float = 0.0
    compiled: bool | None = None
    moved: bool = False
    threads: list[tuple[int, int]] = field(default_factory=list)
    taught: Tensor | None = None

    @classmethod
    def start(cls, model: nn.Module, config: TrainConfig, device: torch.device) -> "TrainingState":
        """Return the state of a run before its first step."""
        average = copy.deepcopy(model) if config.ema else None
        return cls(model, average, optimizers_of(model, config), torch.zeros(2, device=device))

    @torch.no_grad()
    def update_average(self, newest: float | Tensor) -> None:
        """Move the average, if one is kept, the share ``newest`` of the way to the current weights.

        Its batch statistics are not averaged: they are computed before it is used.
        """
        if self.average is not None:
            averages: list[Tensor] = list(self.average.parameters())
            moves = torch._foreach_sub(list[Tensor](self.model.parameters()), averages)
            torch._foreach_mul_(moves, newest)
            torch._foreach_add_(averages, moves)

    @property
    def evaluated(self) -> nn.Module:
        """The network to validate and to keep: the average where there is one."""
        return self.model if self.average is None else self.average

    @property
    def epochs_without_gain(self) -> int:
        """The number of epochs since what decides on validation images last rose."""
        first_best = max(self.rows, key=lambda row: (row.score, -row.epoch), default=None)
        return self.rows[-1].epoch - first_best.epoch if first_best is not None else 0


def recompute_batch_statistics(model: nn.Module, images: Tensor, batch_size: int, processes: Processes = ALONE) -> None:
    """Set the running statistics of every batch norm to the mean over ``images`` and switch to evaluation mode.

    With LR-Net's momentum of 0.01 the running averages of a short run lag hundreds of steps behind its weights
    ("precise batch norm", Wu and Johnson 2021, arXiv:2105.07576), and an average of weights has none.
    """
    batches = images.split(batch_size)
    full = (processes.own_rows(batch) for batch in batches if len(batch) == len(batches[0]))
    update_bn((as_input(batch) for batch in full), model)
    model.eval()
