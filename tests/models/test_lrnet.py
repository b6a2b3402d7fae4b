import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lrnet_cli.errors import UsageError
from lrnet_cli.models.lrnet import LRNet, LRNetShort
from lrnet_cli.models.registry import build


@pytest.fixture(scope="module")
def reference() -> dict[str, object]:
    return json.loads((Path(__file__).parent / "lrnet_reference.json").read_text())


@pytest.fixture(scope="module")
def reference_network(reference: dict) -> tuple[LRNet, torch.Tensor]:
    """The network and input that the reference's recipe draws: NumPy's legacy generator, in the listed order."""
    random = np.random.RandomState(reference["seed"])
    state = {}
    for name, shape in reference["order"]:
        kind = name.rsplit(".", 1)[-1]
        if kind == "running_var" or (kind == "weight" and ".bn_" in name):
            values = random.uniform(0.5, 1.5, shape)
        elif kind == "weight":
            values = random.normal(0, 1, shape) * math.sqrt(1 / math.prod(shape[1:]))
        else:
            values = random.normal(0, 0.1, shape)
        state[name] = torch.tensor(values.astype(np.float32))
    images = torch.tensor((random.randint(0, 256, (16, 28, 28)) / 255).astype(np.float32))[:, None]
    # The reference flattens height, width, channel; PyTorch flattens channel, height, width.
    state["fc1.weight"] = state["fc1.weight"].reshape(256, 3, 3, 24).permute(0, 3, 1, 2).reshape(256, 216)
    network = LRNet(dropout=0.0)
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return network, images


@torch.no_grad()
def test_evaluation_mode_gives_the_reference_probabilities(reference: dict, reference_network: tuple) -> None:
    network, images = reference_network
    found = network.eval()(images).softmax(1)
    assert (found - torch.tensor(reference["eval_probabilities"])).abs().max() < 1e-6


@torch.no_grad()
def test_training_mode_gives_the_reference_probabilities(reference: dict, reference_network: tuple) -> None:
    network, images = reference_network
    found = network.train()(images).softmax(1)
    assert (found - torch.tensor(reference["train_probabilities"])).abs().max() < 5e-5


def test_parameter_names_are_those_of_the_reference(reference: dict) -> None:
    own = {name for name in LRNet().state_dict() if not name.endswith("num_batches_tracked")}
    assert own == {name for name, _ in reference["order"]}


def test_the_papers_network_has_1024998_parameters() -> None:
    assert sum(parameter.numel() for parameter in LRNet().parameters() if parameter.requires_grad) == 1_024_998


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 8, 2), (3, 9, 4), (3, 32, 100), (2, 28, 10)])
def test_other_channels_sizes_and_class_counts_give_logits(channels: int, size: int, classes: int) -> None:
    network = LRNet(channels, size, classes)
    assert network(torch.rand(3, channels, size, size)).shape == (3, classes)


def test_biases_start_at_zero_and_weights_within_the_glorot_bound() -> None:
    network = LRNet()
    assert not network.out.bias.any()
    bound = math.sqrt(6 / (64 + 10))
    assert 0.9 * bound < network.out.weight.abs().max() <= bound


def test_norms_have_the_papers_epsilon_and_momentum() -> None:
    norms = [module for module in LRNet().modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 21
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [((1, 7, 10), "at least 8 pixels"), ((0, 28, 10), "a channel"), ((1, 28, 1), "two classes")],
)
def test_sizes_that_cannot_work_are_refused(arguments: tuple[int, int, int], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        LRNet(*arguments)


def test_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'vgg'.*lrnet"):
        build("vgg", in_channels=1, image_size=28, num_classes=10)


@pytest.mark.parametrize("is_training", [True, False])
def test_the_short_head_is_a_layer_a_norm_a_relu_and_the_classes(is_training: bool) -> None:
    torch.manual_seed(0)
    network = LRNetShort(1, 16, 5, dropout=0.0).double().train(is_training)
    torch.nn.init.uniform_(network.bn_hidden.weight, 0.5, 1.5)
    norm = torch.nn.BatchNorm1d(256, eps=network.bn_hidden.eps, momentum=network.bn_hidden.momentum).double()
    norm.load_state_dict(network.bn_hidden.state_dict())
    features = torch.rand(6, 24, 2, 2, dtype=torch.float64)
    expected = network.out(norm.train(is_training)(network.hidden(features.flatten(1))).relu())
    torch.testing.assert_close(network.classify(features), expected)
    torch.testing.assert_close(network.bn_hidden.running_var, norm.running_var)
