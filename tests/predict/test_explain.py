from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import ExplanationError
from lrnet_cli.models.logits import as_input
from lrnet_cli.predict.explain import Explainer, write_overlay
from lrnet_cli.weights.file import load_weights

CPU = torch.device("cpu")


def test_shares_sum_to_the_rise_of_the_logit(trained_run: Path) -> None:
    weights = trained_run / "model.safetensors"
    model, _ = load_weights(weights)
    explainer = Explainer(weights, CPU)
    for pixels in load_dataset("optdigits").test.images[:5]:
        with torch.no_grad():
            logits, empty = (model(as_input(image[None]))[0] for image in (pixels, torch.zeros_like(pixels)))
        index = int(logits.argmax())
        shares = explainer.attribute(pixels.numpy(), index)
        assert shares.shape == (8, 8)
        rise = float(logits[index] - empty[index])
        assert float(shares.sum()) == pytest.approx(rise, abs=0.3 * abs(rise) + 0.1)  # 100 steps of an integral


def test_the_pixels_with_the_largest_shares_are_those_the_answer_needs(trained_run: Path) -> None:
    weights = trained_run / "model.safetensors"
    model, _ = load_weights(weights)
    explainer = Explainer(weights, CPU)
    images = load_dataset("optdigits").test.images[:20]
    generator = np.random.default_rng(0)
    kept = {"explained": 0.0, "random": 0.0}
    for pixels in images:
        with torch.no_grad():
            index = int(model(as_input(pixels[None])).argmax())
        order = np.abs(explainer.attribute(pixels.numpy(), index)).ravel().argsort()[::-1]
        for name, chosen in (("explained", order[:10]), ("random", generator.permutation(64)[:10])):
            blanked = pixels.clone().flatten()
            blanked[torch.from_numpy(chosen.copy())] = 0
            with torch.no_grad():
                kept[name] += float(model(as_input(blanked.view(1, 1, 8, 8))).softmax(1)[0, index])
    assert kept["explained"] < 0.6 * kept["random"]


@pytest.mark.parametrize("channels", [1, 3])
def test_overlays_show_the_image_and_its_shares(channels: int, tmp_path: Path) -> None:
    pixels = np.zeros((channels, 8, 8), np.uint8)
    shares = np.zeros((8, 8), np.float32)
    shares[2, 3], shares[5, 6] = 1.0, -1.0
    write_overlay(tmp_path / "o.png", pixels, shares)
    image = np.asarray(Image.open(tmp_path / "o.png"))
    assert image.shape == (80, 170, 3)
    red, blue = image[25, 90 + 35].astype(int), image[55, 90 + 65].astype(int)
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50


def test_without_captum_or_gradients_the_way_is_told(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExplanationError, match="an ONNX file has no gradients"):
        Explainer(Path("model.onnx"), CPU)
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(ExplanationError, match=r"pip install 'lrnet-cli\[explain\]'"):
        Explainer(trained_run / "model.safetensors", CPU)
