"""The networks that come with the package."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from lrnet_cli import Classifier
from lrnet_cli.data.catalog import CATALOG
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.data.readers.idx import read_idx
from lrnet_cli.data.sketch import FEW_SEEN, share_in
from lrnet_cli.evaluation.foreign import measure_foreign
from lrnet_cli.evaluation.setup import load_foreign, load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.predict.promised import Promise
from lrnet_cli.promise.threshold import Aim
from lrnet_cli.runs.folder import read_config, read_result
from lrnet_cli.settings.place import Source
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.find import RELEASED

# Strokes of a pen, on a square of 100.
STROKES: dict[str, list[list[tuple[int, int]]]] = {
    "1": [[(55, 20), (48, 80)]],
    "4": [[(38, 20), (30, 52), (68, 50)], [(62, 22), (56, 82)]],
    "7": [[(30, 24), (68, 22), (48, 80)]],
}


def photographed(digit: str, path: Path) -> Path:
    """Draw ``digit`` in black on a white sheet in uneven light, 280×280, blurred and noisy, as a JPEG."""
    sheet = Image.new("L", (280, 280), 255)
    pen = ImageDraw.Draw(sheet)
    for stroke in STROKES[digit]:
        points = [(x * 2.8, y * 2.8) for x, y in stroke]
        pen.line(points, fill=20, width=20, joint="curve")
        for x, y in points:
            pen.ellipse((x - 10, y - 10, x + 10, y + 10), fill=20)
    pixels = np.asarray(sheet.filter(ImageFilter.GaussianBlur(3)), dtype=float)
    light = np.linspace(1.0, 0.8, 280)[:, None] * np.linspace(0.95, 1.0, 280)
    noise = np.random.default_rng(int(digit)).normal(0, 4, pixels.shape)
    Image.fromarray((pixels * light + noise).clip(0, 255).astype(np.uint8)).convert("RGB").save(path, quality=80)
    return path


@pytest.mark.parametrize("digit", STROKES)
def test_a_photographed_digit_is_known_with_nothing_trained(
    lrnet: Callable[..., Any], tmp_path: Path, digit: str
) -> None:
    result = lrnet("predict", photographed(digit, tmp_path / "photo.jpg"), "--format", "json")
    (prediction,) = json.loads(result.stdout)["predictions"]
    assert (prediction["label"], prediction["inverted"]) == (digit, True)
    assert "the included model digits" in result.stderr


@pytest.mark.parametrize("released", RELEASED)
def test_each_tells_of_what_it_is(lrnet: Callable[..., Any], released: str) -> None:
    card = load_weights(RELEASED[released] / WEIGHTS_NAME)[1]
    name = card.dataset["name"]
    assert card.classes == CATALOG[name].classes
    assert card.dataset["test"] == card.metrics["test_images"] == 10_000
    assert card.protocol["command"].startswith(f"lrnet train --dataset {name} ")
    assert len(card.protocol["commit"]) >= 7
    shown = lrnet(f"info --weights {released}").stdout
    low, high = card.metrics["test_accuracy_ci95"]
    accuracy = f"{card.metrics['test_accuracy']:.4f}"
    assert f"test          accuracy {accuracy} (95% interval {low:.4f} to {high:.4f})\n" in shown
    assert re.search(r"^network +lrnet, 10 classes: ", shown, re.MULTILINE)
    text = (RELEASED[released] / "README.md").read_text(encoding="utf-8")
    parts = (
        f"**{card.metrics['test_accuracy']:.4f}**",
        "## Robustness",
        "## Out-of-distribution images",
        "calibration error",
    )
    for part in (*parts, "curves.png"):
        assert part in text
    assert card.novelty is not None
    assert 0 < card.metrics["robustness"] < 1


@pytest.mark.parametrize("name", RELEASED)
def test_each_is_small_and_a_run_like_any_other(lrnet: Callable[..., Any], name: str) -> None:
    assert (RELEASED[name] / WEIGHTS_NAME).stat().st_size < 4.4e6
    config, _ = read_config(RELEASED[name])
    result = read_result(RELEASED[name])
    assert result is not None
    assert (config.dataset, config.limit, result["test_reads"]) == (name.removesuffix("-clean"), None, 1)
    (row,) = json.loads(lrnet(f"compare {name} --json").stdout)["rows"]
    assert (row["dataset"], row["accuracy"]["value"]) == (config.dataset, result["test_accuracy"])


@pytest.mark.parametrize("name", RELEASED)
def test_each_can_promise_an_error_from_images_that_it_did_not_learn_from(name: str) -> None:
    card = load_weights(RELEASED[name] / WEIGHTS_NAME)[1]
    assert card.evidence is not None
    assert (card.evidence.origin, len(card.evidence)) == ("validation", card.dataset["val"])
    assert 1 - card.evidence.wrong.mean() == pytest.approx(card.metrics["val_accuracy"])
    promise = Promise(name, card, Aim(0.02), 1.0)
    assert promise.expected_share > (0.98 if name == "digits" else 0.7)


def test_garments_have_names() -> None:
    prediction = Classifier.load("fashion").predict(np.zeros((28, 28), np.uint8))
    assert {label for label, _ in prediction.top} == set(CATALOG["fashion"].classes)


@pytest.fixture
def mirrored(shared_data: Path, tmp_path: Path) -> dict[str, Any]:
    return {"data_dir": tmp_path, "mirror": str(shared_data)}


@pytest.mark.parametrize("name", RELEASED)
def test_each_knows_the_images_that_it_has_seen(mirrored: dict[str, Any], name: str) -> None:
    card = load_weights(RELEASED[name] / WEIGHTS_NAME)[1]
    data = load_dataset(card.dataset["name"], ImageOptions(preprocessing=card.preprocessing), source=Source(**mirrored))
    assert share_in(card.seen, data.train) == 1
    assert share_in(card.seen, data.test) < FEW_SEEN


@pytest.mark.parametrize("name", RELEASED)
def test_on_real_test_images_each_is_as_good_as_it_says(mirrored: dict[str, Any], name: str) -> None:
    path, images = RELEASED[name] / WEIGHTS_NAME, 1500
    metrics = load_setup(path, EvalRequest(limit=images, **mirrored), Engine.at()).evaluate().metrics
    told = load_weights(path)[1].metrics["test_accuracy"]  # of all 10,000, by tests/benchmarks/release.py
    assert abs(metrics.accuracy - told) < 3 * math.sqrt(told * (1 - told) / images)
    assert metrics.ece < 0.03


@pytest.mark.parametrize(("grey", "share"), [(0, 1.0), (64, 1.0), (160, 1.0), (0, 0.2), (100, 0.4)])
def test_the_ground_and_the_contrast_of_a_digit_make_no_difference(
    shared_data: Path, tmp_path: Path, grey: int, share: float
) -> None:
    request = EvalRequest(limit=300, data_dir=tmp_path, mirror=str(shared_data))
    split = load_setup(RELEASED["digits"] / WEIGHTS_NAME, request, Engine.at()).split
    images = (split.images.float().cpu() * share + grey).clamp(0, 255).to(torch.uint8)
    answers = Classifier.load("digits").predict(images)
    right = [answer.index == label for answer, label in zip(answers, split.labels.tolist(), strict=True)]
    assert np.mean(right) >= 0.98


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_foreign_images_are_told_from_known_ones(shared_data: Path, tmp_path: Path, name: str) -> None:
    request = EvalRequest(limit=300, data_dir=tmp_path, mirror=str(shared_data))
    setup = load_setup(RELEASED[name] / WEIGHTS_NAME, request, Engine.at())
    known = setup.novelty(setup.split.images)
    assert float((known > 1).float().mean()) < 0.04
    folder = shared_data / ("fashion" if name == "digits" else "digits")
    images = read_idx(folder / "t10k-images-idx3-ubyte.gz", 3)[:300]
    labels = np.arange(300) % 2
    # Of the whole set, the polarity of 70,000 images would be judged.
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    other, images = load_foreign(setup, str(foreign), request)
    assert measure_foreign(other, setup.novelty(images), known).auroc > 0.9
