"""Muon as it is done here, held against PyTorch's."""

import copy

import pytest
import torch
from torch import Tensor, nn

from lrnet_cli.models.engine import to_device
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training import optimizers as module
from lrnet_cli.training.optimizers import optimizers_of, orthogonal


def as_matrix(weight: Tensor) -> Tensor:
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight


def test_its_steps_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_kind_of_steps", lambda device: torch.bfloat16)  # as PyTorch's, on any machine
    torch.manual_seed(0)
    network = to_device(LRNet(1, 8), torch.device("cpu"))
    before = copy.deepcopy(network)
    optimizers = optimizers_of(network, TrainConfig(lr=0.02, weight_decay=0.1))
    matrices = {
        name: nn.Parameter(as_matrix(weight.detach()))
        for name, weight in before.named_parameters()
        if weight.ndim > 1 and name != "out.weight"
    }
    reference = torch.optim.Muon(matrices.values(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for name, parameter in network.named_parameters():
            gradient = torch.randn_like(parameter)
            parameter.grad = gradient
            if name in matrices:
                matrices[name].grad = as_matrix(gradient)
        for optimizer in optimizers:
            optimizer.step()
        reference.step()
    after = dict(network.named_parameters())
    for name, matrix in matrices.items():
        torch.testing.assert_close(as_matrix(after[name]), matrix, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("is_native", "kind"), [(True, torch.bfloat16), (False, torch.float32)])
def test_steps_are_taken_in_the_type_that_the_hardware_multiplies(
    monkeypatch: pytest.MonkeyPatch, is_native: bool, kind: torch.dtype
) -> None:
    monkeypatch.setattr(module, "multiplies_bfloat16", lambda device: is_native)
    module._kind_of_steps.cache_clear()
    assert orthogonal([torch.eye(4)], together=False)[0].dtype == kind
    module._kind_of_steps.cache_clear()


@pytest.mark.parametrize("together", [False, True])
def test_orthogonal_matrices_keep_directions_and_lose_sizes(together: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=generator) for shape in ((12, 49), (48, 432), (256, 216), (128, 256), (9, 3))]
    for matrix, found in zip(given, orthogonal(given, together=together), strict=True):
        assert found.shape == matrix.shape
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        inside: Tensor = left.T @ found.float() @ right.T
        sizes = inside.diagonal()
        assert 0.6 < float(sizes.min()) <= float(sizes.max()) < 1.3
        assert float((inside - sizes.diag()).abs().max()) < 0.05


def test_matrices_that_share_the_steps_give_what_each_gives_alone() -> None:
    given = [torch.randn(shape) for shape in ((12, 49), (48, 432), (256, 216), (9, 3))]
    for alone, shared in zip(orthogonal(given, together=False), orthogonal(given, together=True), strict=True):
        torch.testing.assert_close(alone.float(), shared.float(), rtol=0, atol=0.02)


def test_weight_decay_is_decoupled_in_all() -> None:
    for name in ("adam", "adamw"):
        weight = nn.Linear(3, 3, bias=False)
        before = weight.weight.detach().clone()
        [optimizer] = optimizers_of(weight, TrainConfig(optimizer=name, lr=0.1, weight_decay=0.5))
        weight.weight.grad = torch.zeros(3, 3)
        optimizer.step()
        assert torch.allclose(weight.weight, before * (1 - 0.1 * 0.5)), name
