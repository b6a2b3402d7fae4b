"""The optimisers by name, and the learning rate as a function of progress."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lrnet_cli.models.engine import multiplies_bfloat16
from lrnet_cli.settings.config import TrainConfig

SECOND_STAGE = 0.5
"""The progress from which a run of two stages is in the second one."""
_WARM_UP = 0.3  # share of a one-cycle run in which the learning rate rises
_FIRST_SHARE, _LAST_SHARE = 1 / 25, 1 / 250_000  # of the highest learning rate
_MOMENTUM, _RMS_OF_ADAMW = 0.95, 0.2
_ITERATIONS, _COEFFICIENTS, _SMALLEST_NORM = 5, (3.4445, -4.7750, 2.0315), 1e-7


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Return the learning rate at ``progress``, the share in [0, 1] of a run's steps that are taken.

    One-cycle (Smith and Topin 2018, arXiv:1708.07120): a cosine from a 25th of ``config.lr`` up to it over the first
    three tenths, then a cosine down to nearly zero; each of two stages has a cycle. A function of progress alone, it
    needs no state.
    """
    if config.schedule == "constant":
        return config.lr
    if config.two_stages:
        progress = 2 * progress - (progress >= SECOND_STAGE)
    if progress < _WARM_UP:
        low, share = _FIRST_SHARE, progress / _WARM_UP
    else:
        low, share = _LAST_SHARE, 1 - (progress - _WARM_UP) / (1 - _WARM_UP)
    return config.lr * (low + (1 - low) * (1 - math.cos(math.pi * share)) / 2)


def optimizers_of(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return the optimisers of ``model``; weight decay does not apply to norms and biases."""
    return _OPTIMIZERS[config.optimizer](model, config)


def _adam(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    return [
        torch.optim.Adam(
            _groups(_weights_of(model), model, config), lr=config.lr, fused=True, decoupled_weight_decay=True
        )
    ]


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


class _MatrixMuon(torch.optim.Optimizer):
    """Muon for weights of any shape: a convolution's (out, in, height, width) counts as a matrix (out, the rest).

    The same steps as those of ``torch.optim.Muon`` with Nesterov's momentum, scaled to the size of AdamW's
    ("match_rms_adamw", Liu et al. 2025, arXiv:2502.16982), so that one learning rate and one weight decay serve both.
    Here a GPU orthogonalises many matrices at once, and the learning rate may be a tensor, as a CUDA graph needs it.
    """

    def __init__(self, weights: list[nn.Parameter], config: TrainConfig) -> None:
        self._weights = weights
        matrices = [nn.Parameter(_as_matrix(weight.detach())) for weight in weights]
        assert all(m.data_ptr() == w.data_ptr() for m, w in zip(matrices, weights, strict=True)), "not a view"
        super().__init__(matrices, {"lr": config.lr, "weight_decay": config.weight_decay})
        self._matrices: list[Tensor] = list(matrices)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure is used here
        """Update the weights by their gradients."""
        group, gradients = self.param_groups[0], []
        for weight in self._weights:
            assert weight.grad is not None
            gradients.append(_as_matrix(weight.grad))
        for matrix in self._matrices:
            if not self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
        momenta = [self.state[matrix]["momentum_buffer"] for matrix in self._matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        updates = torch._foreach_lerp(gradients, momenta, _MOMENTUM)
        torch._foreach_mul_(self._matrices, 1 - group["lr"] * group["weight_decay"])
        together = updates[0].device.type == "cuda"  # to a GPU each matrix is too little work
        directions = [direction.float() for direction in orthogonal(updates, together=together)]
        torch._foreach_mul_(directions, [_RMS_OF_ADAMW * max(matrix.shape) ** 0.5 for matrix in self._matrices])
        torch._foreach_mul_(directions, group["lr"])
        torch._foreach_sub_(self._matrices, directions)


def orthogonal(matrices: Sequence[Tensor], *, together: bool) -> list[Tensor]:
    """Return matrices whose singular values are all near 1, and whose singular vectors are those given.

    Five steps of the iteration of Newton and Schulz with the coefficients of Jordan et al. 2024, in bfloat16 where the
    hardware multiplies it: elsewhere that takes twenty times as long as float32. If ``together``, matrices are filled
    up with zeros to the size of the largest, which changes nothing, and share the steps.
    """
    kind = _kind_of_steps(matrices[0].device)
    flat = [matrix.to(kind).T if len(matrix) > matrix.shape[1] else matrix.to(kind) for matrix in matrices]
    results = list(flat) if together else [_newton_schulz(matrix) for matrix in flat]
    if together:
        for chosen in _alike(flat):
            high, wide = (max(flat[index].shape[axis] for index in chosen) for axis in (0, 1))
            filled = flat[0].new_zeros(len(chosen), high, wide)
            for row, index in zip(filled, chosen, strict=True):
                row[: flat[index].shape[0], : flat[index].shape[1]] = flat[index]
            for row, index in zip(_newton_schulz(filled), chosen, strict=True):
                results[index] = row[: flat[index].shape[0], : flat[index].shape[1]]
    return [x.T if len(matrix) > matrix.shape[1] else x for x, matrix in zip(results, matrices, strict=True)]


@cache
def _kind_of_steps(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def _alike(matrices: list[Tensor]) -> list[list[int]]:
    """Return the indices of ``matrices`` in groups: those lower than 96, as of convolutions, and the others."""
    low = [len(matrix) < 96 for matrix in matrices]
    groups = [[index for index, is_low in enumerate(low) if is_low is group_is_low] for group_is_low in (True, False)]
    return [group for group in groups if group]


def _newton_schulz(x: Tensor) -> Tensor:
    """Return a matrix (m, n), or several (N, m, n), no higher than wide, with singular values brought near 1."""
    a, b, c = _COEFFICIENTS
    add = torch.addmm if x.ndim == 2 else torch.baddbmm
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=_SMALLEST_NORM)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = add(x, add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _as_matrix(weight: Tensor) -> Tensor:
    """Return ``weight`` (out, …) as a matrix; for a channels-last convolution a view of the same memory."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight
