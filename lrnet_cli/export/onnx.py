"""Writing ONNX files; ``weights.onnx`` reads them."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lrnet_cli.weights.card import WeightsCard, metadata_of
from lrnet_cli.weights.onnx import INPUT, NOVELTY, OUTPUTS, needed_packages

if TYPE_CHECKING:
    from onnx import ModelProto


def to_bytes(whole: nn.Module, card: WeightsCard, example: Tensor) -> bytes:
    """Return ``whole`` (images in; logits, probabilities, novelty out), traced with ``example``, as an ONNX file."""
    with needed_packages(), warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            whole,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[*OUTPUTS, NOVELTY] if card.needs_description else list(OUTPUTS),
            # PyTorch 2.9 traces nothing that holds from a single image on. The file itself has no such limit.
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=2)}},
            verbose=False,
        )
    assert program is not None
    return with_card(program.model_proto, card)


def with_card(content: "ModelProto", card: WeightsCard) -> bytes:
    """Return an ONNX model as a file, with the metadata of ``card`` instead of any that it had."""
    del content.metadata_props[:]
    for key, value in metadata_of(card).items():
        content.metadata_props.add(key=key, value=value)
    return bytes(content.SerializeToString())


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's advice to its developers from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
