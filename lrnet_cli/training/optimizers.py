"""The optimisers by name, and the learning rate as a function of progress."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lrnet_cli.settings.config import TrainConfig

_WARM_UP = 0.3  # share of a one-cycle run in which the learning rate rises
_FIRST_SHARE, _LAST_SHARE = 1 / 25, 1 / 250_000  # of the highest learning rate


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Return the learning rate at ``progress``, the share in [0, 1] of a run's steps that are taken.

    One-cycle (Smith and Topin 2018, arXiv:1708.07120): a cosine from a 25th of ``config.lr`` up to it over the first
    three tenths, then a cosine down to nearly zero. A function of progress alone, it needs no state.
    """
    if config.schedule == "constant":
        return config.lr
    if progress < _WARM_UP:
        low, share = _FIRST_SHARE, progress / _WARM_UP
    else:
        low, share = _LAST_SHARE, 1 - (progress - _WARM_UP) / (1 - _WARM_UP)
    return config.lr * (low + (1 - low) * (1 - math.cos(math.pi * share)) / 2)


def optimizers_of(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return the optimisers of ``model``; weight decay does not apply to norms and biases."""
    return _OPTIMIZERS[config.optimizer](model, config)


def _adam(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    return [torch.optim.Adam(_groups(_weights_of(model), model, config), lr=config.lr, fused=True)]


def _adamw(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    return [torch.optim.AdamW(_groups(_weights_of(model), model, config), lr=config.lr, fused=True)]


def _muon(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the weights of convolutions and hidden layers, as matrices; AdamW for the rest.

    The last layer's rows are classes, not directions: its gradient is better left unchanged.
    """
    *matrices, last = _weights_of(model)
    rest = torch.optim.AdamW(_groups([last], model, config), lr=config.lr, fused=True)
    return [rest, _MatrixMuon(matrices, config)]


_OPTIMIZERS: dict[str, Callable[[nn.Module, TrainConfig], list[torch.optim.Optimizer]]] = {
    "muon": _muon,
    "adamw": _adamw,
    "adam": _adam,
}


def _weights_of(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in _trained(model) if parameter.ndim > 1]


def _trained(model: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)


def _groups(decayed: list[nn.Parameter], model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    others = [parameter for parameter in _trained(model) if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]


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
        """Update the weights by their gradients."""
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            assert weight.grad is not None
            matrix.grad = _as_matrix(weight.grad)
        super().step(closure)  # type: ignore[no-untyped-call]


def _as_matrix(weight: Tensor) -> Tensor:
    """Return ``weight`` (out, …) as a matrix; for a channels-last convolution a view of the same memory."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight
