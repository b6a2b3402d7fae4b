"""Why this label: which pixels of an image count for it."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lrnet_cli.data.polarity import polarity_of
from lrnet_cli.errors import ExplanationError
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import as_input
from lrnet_cli.threads import threads_for_now, threads_of_operations
from lrnet_cli.weights.open import is_onnx, open_network

_STEPS = 100  # of the path from the background to the image; with 24 the sum is off by a fifth and more
_ENLARGED = 10  # screen pixels per pixel
_BACKGROUND = {"light-on-dark": 0.0, "dark-on-light": 1.0, "mixed": 0.5}


class Explainer:
    """Attributes a network's answers to pixels, by integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365).

    Raises ``WeightsError`` for a weight file that cannot be used, ``ExplanationError`` without the package captum.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        try:
            from captum.attr import IntegratedGradients
        except ImportError as error:
            raise ExplanationError("--explain needs captum: pip install 'lrnet-cli[explain]'") from error
        if is_onnx(weights):
            raise ExplanationError(f"{weights}: an ONNX file has no gradients; explain with the weights it came from.")
        opened = open_network(weights, Engine(device, fuse=False))
        self.classes = opened.card.classes
        self._rule = opened.card.preprocessing.polarity_rule
        self._device = device
        self._gradients = IntegratedGradients(opened.network.requires_grad_(False))

    def attribute(self, pixels: NDArray[np.uint8], index: int) -> NDArray[np.float32]:
        """Return what each pixel of uint8 (channels, side, side) adds to the logit of class ``index``: (side, side).

        The values sum to the logit's rise above that of an empty image of the background's value.
        """
        image = as_input(torch.from_numpy(pixels)[None].to(self._device))
        background = _BACKGROUND[polarity_of(pixels.transpose(1, 2, 0), self._rule)]
        with threads_of_operations(threads_for_now()):
            given: Tensor = self._gradients.attribute(
                image.requires_grad_(), torch.full_like(image, background), target=index, n_steps=_STEPS
            )
        shares: NDArray[np.float32] = given.detach().float().sum((0, 1)).cpu().numpy()
        return shares


def write_overlay(target: Path, pixels: NDArray[np.uint8], shares: NDArray[np.float32]) -> None:
    """Write the image, uint8 (channels, side, side), next to its pixels' shares (side, side), as a PNG.

    Red pixels count for the class, blue ones against it, over the image in pale grey.
    """
    from lrnet_cli.plots import RED_TO_BLUE  # matplotlib takes a second

    image = np.repeat(pixels, 3, 0) if len(pixels) == 1 else pixels
    image = image.transpose(1, 2, 0)
    strength = shares / max(float(np.abs(shares).max()), 1e-12)
    colours = RED_TO_BLUE((strength + 1) / 2)[..., :3] * 255
    weight = np.abs(strength)[..., None] ** 0.5
    pale = 170 + image.mean(2, keepdims=True) / 3
    overlay = np.rint(weight * colours + (1 - weight) * pale).astype(np.uint8)
    pair = np.concatenate([image, np.full_like(image[:, :1], 255), overlay], 1)
    Image.fromarray(pair.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)).save(target, format="PNG")
