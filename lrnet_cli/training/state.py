"""What changes while a network trains: everything that a stopped run needs to go on as if it had never stopped."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from lrnet_cli.inference import as_input
from lrnet_cli.processes import ALONE, Processes
from lrnet_cli.training.config import TrainConfig
from lrnet_cli.training.reporter import EpochRow

_WARM_UP = 0.3  # share of a one-cycle run in which the learning rate rises
_FIRST_SHARE, _LAST_SHARE = 1 / 25, 1 / 250_000  # of the highest learning rate
_Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass
class TrainingState:
    """The networks, the optimisers and the position of a run.

    ``average`` holds the moving average of the weights, if one is kept. ``epoch`` counts from 1; ``step`` is the number
    of steps taken in it, and ``sums`` adds up their loss and accuracy; ``taken`` counts the steps of all epochs.
    ``seconds`` is the time spent in steps and ``elapsed`` that of the whole run. ``compiled`` is None until it is
    settled whether steps are compiled.
    """

    model: nn.Module
    average: AveragedModel | None
    optimizers: list[torch.optim.Optimizer]
    sums: Tensor
    epoch: int = 1
    step: int = 0
    taken: int = 0
    rows: list[EpochRow] = field(default_factory=list)
    seconds: float = 0.0
    elapsed: float = 0.0
    compiled: bool | None = None

    @classmethod
    def start(cls, model: nn.Module, config: TrainConfig, device: torch.device) -> "TrainingState":
        """Return the state of a run before its first step."""
        average = AveragedModel(model, multi_avg_fn=_looking_back(config.ema)) if config.ema else None
        return cls(model, average, optimizers_of(model, config), torch.zeros(2, device=device))

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


def recompute_batch_statistics(model: nn.Module, images: Tensor, batch_size: int, processes: Processes = ALONE) -> None:
    """Set the running statistics of every batch norm to the mean over ``images`` and turn to evaluation mode.

    With LR-Net's momentum of 0.01 the running averages of a short training lag hundreds of steps behind its weights
    ("precise batch norm", Wu and Johnson 2021, arXiv:2105.07576), and an average of weights has none of its own.
    """
    batches = images.split(batch_size)
    full = (processes.own_rows(batch) for batch in batches if len(batch) == len(batches[0]))
    update_bn((as_input(batch) for batch in full), model)
    model.eval()


def _looking_back(share: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Return an update for ``AveragedModel`` whose memory is ``share`` of the steps so far, however many will come."""

    def update(averages: _Tensors, values: _Tensors, steps: Tensor | int) -> None:
        torch._foreach_lerp_(averages, values, 1 / max(1.0, share * float(steps)))

    return update


def optimizers_of(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return the optimisers of ``model``; weight decay leaves norms and biases alone.

    Muon (Jordan et al. 2024) takes the weights of convolutions and hidden layers, seen as matrices, AdamW the rest.
    """
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    matrices: list[nn.Parameter] = []
    if config.optimizer == "muon":
        # The last layer's rows are classes, not directions: its gradient is better left as it is.
        matrices, decayed = decayed[:-1], decayed[-1:]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return [kind(groups, lr=config.lr, fused=True), *([_MatrixMuon(matrices, config)] if matrices else [])]


class _MatrixMuon(torch.optim.Muon):
    """Muon for weights of any shape: a convolution's (out, in, height, width) counts as a matrix (out, the rest).

    Its steps are scaled to the size of AdamW's ("match_rms_adamw", Liu et al. 2025, arXiv:2502.16982), so that one
    learning rate and one weight decay serve both.
    """

    def __init__(self, weights: list[nn.Parameter], config: TrainConfig) -> None:
        self._weights = weights
        self._matrices = [nn.Parameter(_as_matrix(weight.detach())) for weight in weights]
        assert all(m.data_ptr() == w.data_ptr() for m, w in zip(self._matrices, weights, strict=True)), "not a view"
        super().__init__(self._matrices, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is used here
        """Take a step of the weights by their gradients."""
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            assert weight.grad is not None
            matrix.grad = _as_matrix(weight.grad)
        super().step(closure)  # type: ignore[no-untyped-call]


def _as_matrix(weight: Tensor) -> Tensor:
    """Return ``weight`` (out, …) as a matrix; a view of the same memory where a convolution's lies channels-last."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight
