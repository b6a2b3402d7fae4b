import pytest
import torch
from torch import nn

from lrnet_cli.models.lrnet import LRNet, LRNetShort
from lrnet_cli.models.quantizable import FIRST, LEVELS, QuantizableLRNet


def network_with_statistics(channels: int = 1, size: int = 28, head: type[LRNet] = LRNet) -> LRNet:
    torch.manual_seed(0)
    network = head(channels, size).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)  # some are negative, which turns pooling round
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_mean, 0, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.2, 2)  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize("head", [LRNet, LRNetShort])
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 13), (1, 8)])
def test_quantizable_and_with_equalized_channels_it_is_still_the_same_function(
    channels: int, size: int, head: type[LRNet]
) -> None:
    network = network_with_statistics(channels, size, head)
    images = torch.rand(6, channels, size, size)
    expected = network(images).detach()
    tolerance = 1e-3 * float(expected.abs().max())
    quantizable = QuantizableLRNet(network).eval()
    torch.testing.assert_close(quantizable(images).detach(), expected, rtol=0, atol=tolerance)
    quantizable.equalize_channels(images)
    torch.testing.assert_close(quantizable(images).detach(), expected, rtol=0, atol=tolerance)


def test_equalised_channels_reach_from_zero_to_one() -> None:
    network = network_with_statistics()
    network.block1.stage1_5x5.bias.data[3] = -1000  # a channel that is never used
    images = torch.rand(8, 1, 28, 28)
    quantizable = QuantizableLRNet(network).eval()
    quantizable.equalize_channels(images)
    x = images
    for number, block in enumerate(quantizable.blocks):
        tensors = block.tensors(x)  # type: ignore[operator]  # a block
        x = block.output(tensors)  # type: ignore[operator]
        for name in set(tensors) - {"input", "x", "ones"}:
            widest = tensors[name].amax((0, 2, 3))
            used = torch.ones(len(widest), dtype=torch.bool)
            used[3] = (number, name) != (0, "stage1_5x5")
            assert (widest[used] == 0).logical_or((widest[used] - 1).abs() < 1e-3).all(), name
            assert (widest[~used] == 0).all()


def rounded_one_by_one(quantizable: QuantizableLRNet) -> None:
    for module in quantizable.blocks.modules():
        if isinstance(module, nn.Conv2d):
            step = module.weight.abs().amax((1, 2, 3), keepdim=True) / LEVELS
            module.weight.data = (module.weight / step).round() * step


def test_rounded_weights_fit_eight_bits_and_lose_less_than_each_by_itself() -> None:
    network = network_with_statistics()
    smooth = nn.functional.interpolate(torch.rand(60, 1, 7, 7), size=28, mode="bilinear")  # neighbours correlate
    known, other = smooth[:40], smooth[40:]
    errors = []
    for rounds in (lambda quantizable: quantizable.gptq_round(known), rounded_one_by_one):
        quantizable = QuantizableLRNet(network).eval()
        quantizable.equalize_channels(known)
        rounds(quantizable)
        for name, module in quantizable.blocks.named_modules():
            if isinstance(module, nn.Conv2d) and name not in {f"0.convs.{first}" for first in FIRST}:
                levels = module.weight / module.weight.abs().amax((1, 2, 3), keepdim=True) * LEVELS
                assert (levels - levels.round()).abs().max() < 1e-2
        errors.append((quantizable(other) - network(other)).square().mean().item())
    assert errors[0] < errors[1] / 4
