import copy

import pytest
import torch
from torch import nn

from lrnet_cli.errors import UsageError
from lrnet_cli.models.fused import FusedLRNet, channels_last, fuse
from lrnet_cli.models.lrnet import LRNet, LRNetShort

CASES = [(1, 28, 2), (1, 28, 16), (3, 9, 5), (2, 16, 3), (1, 8, 2), (3, 32, 4)]
HEADS = pytest.mark.parametrize("head", [LRNet, LRNetShort])


def pair(channels: int, size: int, dtype: torch.dtype, head: type[LRNet] = LRNet) -> tuple[LRNet, LRNet]:
    """Return a network with norms that do something, and a copy to fuse."""
    torch.manual_seed(channels * 100 + size)
    network = head(channels, size, 7, dropout=0.0).to(dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network, copy.deepcopy(network)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative error, as the norm of the deviation over that of what is expected, which may be zero.

    Before a norm, as in the short head, a bias has no gradient.
    """
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-4))


def trained_once(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    logits = network(images)
    torch.manual_seed(0)
    (logits * torch.randn(logits.shape, dtype=torch.float64).to(logits.dtype)).sum().backward()
    return logits


@HEADS
@pytest.mark.parametrize(("channels", "size", "batch"), CASES)
def test_training_equals_the_plain_network_in_float64(channels: int, size: int, batch: int, head: type[LRNet]) -> None:
    plain, other = pair(channels, size, torch.float64, head)
    batch += 4 * (head is LRNetShort)  # a norm of two numbers leaves their signs, and next to no gradient
    images = torch.rand(batch, channels, size, size, dtype=torch.float64)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    expected, found = trained_once(plain, theirs), trained_once(FusedLRNet(other), ours)
    assert error(found, expected) < 1e-9
    assert error(ours.grad, theirs.grad) < 1e-9
    for (name, parameter), mine in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert error(mine.grad, parameter.grad) < 1e-9, name
    for (name, statistic), mine in zip(plain.named_buffers(), other.buffers(), strict=True):
        assert error(mine, statistic) < 1e-9, name


@pytest.mark.parametrize(("channels", "size", "batch"), [(1, 28, 2), (3, 9, 5), (2, 16, 3), (1, 8, 4), (3, 32, 2)])
def test_float32_training_is_exact_to_rounding(channels: int, size: int, batch: int) -> None:
    def worst_error(draw: int) -> float:
        torch.manual_seed(draw)
        images = torch.rand(batch, channels, size, size, dtype=torch.float64)
        exact, other = pair(channels, size, torch.float64)
        other = other.float()
        expected, found = trained_once(exact, images), trained_once(FusedLRNet(other), images.float())
        assert error(found, expected) < 1e-4
        pairs = zip(exact.parameters(), other.parameters(), strict=True)
        return max(error(mine.grad, true.grad) for true, mine in pairs)

    # Where two pixels of a pool, or a ReLU's input and zero, differ by less than rounding, the gradient takes the other
    # branch, as it may in the plain network. That happens in few draws of few images; a wrong formula shows in all.
    assert min(map(worst_error, range(4))) < 1e-4


@HEADS
@pytest.mark.parametrize(("channels", "size", "batch"), [*CASES, (1, 28, 1)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@torch.no_grad()
def test_evaluation_equals_the_plain_network_up_to_the_border(
    channels: int, size: int, batch: int, dtype: torch.dtype, bound: float, head: type[LRNet]
) -> None:
    plain, other = pair(channels, size, dtype, head)
    images = torch.rand(batch, channels, size, size, dtype=dtype)
    assert error(FusedLRNet(other.eval())(images), plain.eval()(images)) < bound
    for (name, statistic), mine in zip(plain.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(mine, statistic), name


def test_recomputed_statistics_are_plain_averages_in_both() -> None:
    plain, other = pair(1, 12, torch.float64)
    batches = torch.rand(3, 4, 1, 12, 12, dtype=torch.float64)
    for network in (plain, FusedLRNet(other)):
        torch.optim.swa_utils.update_bn(batches, network)
    for (name, statistic), mine in zip(plain.named_buffers(), other.buffers(), strict=True):
        assert error(mine, statistic) < 1e-9, name


def test_the_fused_view_shares_parameters_and_mode_and_adds_none() -> None:
    network = LRNet().eval()
    fused = fuse(network)
    assert isinstance(fused, FusedLRNet)
    assert not fused.training
    fused.train()
    assert network.block1.training
    assert [id(parameter) for parameter in fused.parameters()] == [id(parameter) for parameter in network.parameters()]


def test_what_is_no_lrnet_or_tiny_or_not_wanted_stays_as_it_is() -> None:
    other, network, tiny = nn.Linear(2, 2), LRNet(), LRNet(1, 8)
    assert fuse(other) is other
    assert fuse(tiny) is tiny
    assert fuse(network, enabled=False) is network


def test_a_batch_of_one_is_refused_in_training() -> None:
    with pytest.raises(UsageError, match="a batch of two or more"):
        fuse(LRNet())(torch.rand(1, 1, 28, 28))


def test_gradients_of_the_moments_are_right() -> None:
    from lrnet_cli.models.moments import _MomentsOf

    values = [torch.rand(3, channels, 4, 5, dtype=torch.float64, requires_grad=True) for channels in (2, 3)]
    assert torch.autograd.gradcheck(lambda *z: _MomentsOf.apply(False, *z)[:2], values)


def test_moments_of_bfloat16_are_computed_in_float32() -> None:
    from lrnet_cli.models.moments import _MomentsOf

    torch.manual_seed(0)
    values = (torch.rand(64, 3, 16, 16) + 2).to(torch.bfloat16).requires_grad_()
    mean, var, _ = _MomentsOf.apply(False, values)
    exact = values.detach().double()
    assert mean.dtype == var.dtype == torch.float32
    assert torch.allclose(mean.double(), exact.mean((0, 2, 3)), rtol=1e-6)
    assert torch.allclose(var.double(), exact.var((0, 2, 3), correction=0), rtol=1e-5)
    (mean + var).sum().backward()
    assert values.grad is not None
    assert values.grad.dtype == torch.bfloat16


def test_no_images_have_no_logits() -> None:  # as in a process that has no share of a few images
    assert fuse(LRNet(1, 16, 7).eval())(torch.rand(0, 1, 16, 16)).shape == (0, 7)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_concatenation_with_images_is_laid_out_channels_last(channels: int) -> None:
    images = torch.rand(2, channels, 9, 9)  # as augmentation and normalisation give them, of one channel
    maps = torch.rand(2, 48, 9, 9).contiguous(memory_format=torch.channels_last)
    laid_out = channels_last(images)
    assert torch.equal(laid_out, images)
    assert (laid_out.data_ptr() == images.data_ptr()) == (channels == 1)  # then nothing is copied
    assert torch.cat([laid_out, maps], 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["block1.stage2_5x5.weight", "block2.bn_3_5.running_mean", "block3.project_1x1.bias"])
@torch.no_grad()
def test_what_is_kept_for_the_next_batch_follows_the_weights(name: str) -> None:
    plain, other = pair(1, 16, torch.float64)
    fused, images = FusedLRNet(other.eval()), torch.rand(3, 1, 16, 16, dtype=torch.float64)
    before = fused(images)
    assert torch.equal(fused(images), before)
    for network in (plain, other):
        network.state_dict()[name].add_(0.5)
    assert error(fused(images), before) > 1e-6
    assert error(fused(images), plain.eval()(images)) < 1e-9
    smaller = torch.rand(2, 1, 16, 16)
    assert error(FusedLRNet(other.float())(smaller), plain.float()(smaller)) < 1e-4


def test_what_is_kept_does_not_cut_gradients_off() -> None:
    plain, other = pair(1, 16, torch.float64)
    fused, images = FusedLRNet(other.eval()), torch.rand(3, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        fused(images)
    expected, found = trained_once(plain.eval(), images), trained_once(fused, images)
    assert error(found, expected) < 1e-9
    assert error(other.block2.stage2_7x7.weight.grad, plain.block2.stage2_7x7.weight.grad) < 1e-9
