"""What a network is made of and what it costs: layers, parameters and multiply-adds."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_FLOPS_A_MULTIPLY_ADD = 2


@dataclass(frozen=True)
class Layer:
    """A layer: its name, its kind, the shape of its output without the batch, its parameters and multiply-adds."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The layers of a network in the order they run, and the sums over them for one image."""

    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int


def summarise(network: nn.Module, in_channels: int, image_size: int) -> Summary:
    """Return what ``network`` does for one image (1, ``in_channels``, ``image_size``, ``image_size``).

    Multiply-adds are those of convolutions and matrix products, counted by PyTorch. The network is run in evaluation
    mode on PyTorch's "meta" device, without numbers: it may be built there, without using memory.
    """
    from torch.utils.flop_counter import FlopCounterMode  # loads triton, for which a prediction need not wait

    shapes: dict[str, tuple[int, ...]] = {}

    def noting(name: str) -> Any:
        def note(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return note

    leaves = {name: module for name, module in network.named_modules() if not list(module.children())}
    handles = [module.register_forward_hook(noting(name)) for name, module in leaves.items()]
    was_training = network.training
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            network.eval()(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    counts = counter.get_flop_counts()
    root = type(network).__name__
    layers = tuple(
        Layer(
            name,
            type(leaves[name]).__name__,
            shape,
            sum(parameter.numel() for parameter in leaves[name].parameters()),
            sum(counts.get(f"{root}.{name}", {}).values()) // _FLOPS_A_MULTIPLY_ADD,
        )
        for name, shape in shapes.items()
    )
    return Summary(
        layers,
        sum(parameter.numel() for parameter in network.parameters()),
        counter.get_total_flops() // _FLOPS_A_MULTIPLY_ADD,
    )
