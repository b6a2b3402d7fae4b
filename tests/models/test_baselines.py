from typing import Any

import pytest
import torch
from torch import Tensor

from lrnet_cli.errors import UsageError
from lrnet_cli.models.baselines import Baseline
from lrnet_cli.models.registry import ARCHITECTURES, build, summary_of
from lrnet_cli.settings.words import LRNETS

RIVALS = [arch for arch in ARCHITECTURES if arch not in LRNETS]


@pytest.fixture
def meta() -> Any:
    """Build networks without numbers: VGG-16 takes half a gigabyte and seconds."""
    with torch.device("meta"):
        yield


# What torchvision's documentation gives for 1,000 classes of colour images, in parameters and 10^9 multiply-adds.
# Inception-V3's parameters are those without the auxiliary classifier.
@pytest.mark.parametrize(
    ("arch", "side", "parameters", "multiply_adds"),
    [
        ("alexnet", 224, 61_100_840, 0.71),
        ("vgg16", 224, 138_357_544, 15.47),
        ("resnet50", 224, 25_557_032, 4.09),
        ("inception_v3", 299, 27_161_264 - 3_326_696, 5.71),
    ],
)
def test_costs_are_those_that_torchvision_tells(arch: str, side: int, parameters: int, multiply_adds: float) -> None:
    summary = summary_of(arch, 3, side, 1000)
    assert summary.parameters == parameters
    assert summary.multiply_adds / 1e9 == pytest.approx(multiply_adds, abs=0.006)


def test_lr_net_costs_what_its_definition_says() -> None:
    summary = summary_of("lrnet", 1, 28, 10)
    assert summary.parameters == 1_024_998
    first = summary.layers[0]
    assert (first.name, first.kind, first.output) == ("block1.stage1_3x3", "Conv2d", (48, 28, 28))
    assert (first.parameters, first.multiply_adds) == (48 * 9 + 48, 48 * 9 * 28 * 28)
    assert summary.multiply_adds == sum(layer.multiply_adds for layer in summary.layers)


@pytest.mark.parametrize("arch", RIVALS)
@pytest.mark.parametrize(("channels", "side", "classes"), [(1, 28, 10), (3, 28, 4), (1, 8, 2), (3, 100, 10)])
@pytest.mark.usefixtures("meta")
def test_images_of_any_size_and_colour_fit(arch: str, channels: int, side: int, classes: int) -> None:
    network = build(arch, in_channels=channels, image_size=side, num_classes=classes)
    assert network(torch.rand(2, channels, side, side)).shape == (2, classes)


def test_the_plain_network_is_what_it_says() -> None:
    summary = summary_of("cnn", 1, 28, 10)
    assert [layer.kind for layer in summary.layers] == ["Conv2d", "Conv2d", "Linear", "Dropout", "Linear"]
    assert summary.parameters == (9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 49 + 1) * 128 + 129 * 10
    with pytest.raises(UsageError, match="cnn needs a channel, 4 pixels per side and two classes, got 1, 3 and 10"):
        build("cnn", in_channels=1, image_size=3, num_classes=10)


def test_the_small_residual_network_is_what_it_says() -> None:
    summary = summary_of("resnet-small", 1, 28, 10)
    kinds = [layer.kind for layer in summary.layers]
    assert (kinds.count("Conv2d"), kinds.count("BatchNorm2d"), kinds.count("Linear")) == (8, 8, 1)
    widths = [(1, 32), (32, 64), (64, 64), (64, 64), (64, 128), (128, 128), (128, 128), (128, 128)]
    assert summary.parameters == sum(9 * a * b + 2 * b for a, b in widths) + (4 * 128 + 1) * 10
    with pytest.raises(UsageError, match="resnet-small needs a channel, 8 pixels per side and two classes"):
        build("resnet-small", in_channels=1, image_size=7, num_classes=10)


@pytest.mark.parametrize("arch", ["cnn", "resnet-small", "alexnet", "resnet50", "inception_v3"])
def test_rivals_learn_from_grey_images(arch: str) -> None:
    torch.manual_seed(0)
    network = build(arch, in_channels=1, image_size=28, num_classes=2)
    images, labels = torch.rand(8, 1, 28, 28), torch.tensor([0, 1] * 4)
    images[labels == 1] *= 0.1
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.usefixtures("meta")
def test_only_small_images_are_enlarged() -> None:
    seen: list[tuple[int, ...]] = []

    def note(_module: Any, inputs: tuple[Tensor, ...]) -> None:
        seen.append(tuple(inputs[0].shape))

    for side in (28, 63, 100):
        network = Baseline("alexnet", 1, side)
        network.network.register_forward_pre_hook(note)
        network(torch.rand(2, 1, side, side))
    assert [shape[-1] for shape in seen] == [63, 63, 100]


@pytest.mark.usefixtures("meta")
def test_dropout_is_the_one_given() -> None:
    for arch in ("vgg16", "alexnet", "inception_v3"):
        network = build(arch, in_channels=1, image_size=28, num_classes=10, dropout=0.125)
        shares = [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)]
        assert set(shares) == {0.125}


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="vgg16 needs a channel, a pixel and two classes"):
        build("vgg16", in_channels=1, image_size=28, num_classes=1)
