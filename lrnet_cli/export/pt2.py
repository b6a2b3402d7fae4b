"""PyTorch's own exported programs."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrnet_cli.weights.card import WeightsCard, metadata_of


def to_bytes(whole: nn.Module, card: WeightsCard, example: Tensor) -> bytes:
    """Return ``whole`` (images in; logits, probabilities, novelty out), traced with ``example``, as a PT2 file."""
    program = torch.export.export(whole, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}})
    target = io.BytesIO()
    torch.export.save(program, target, extra_files=metadata_of(card))
    return target.getvalue()


def open_program(path: Path) -> Callable[[Tensor], Any]:
    """Return a function that runs the program in the file at ``path``."""
    return torch.export.load(io.BytesIO(path.read_bytes())).module()
