from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lrnet_cli import Classifier
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.splits import limited
from lrnet_cli.evaluation.evaluate import evaluate
from lrnet_cli.models.engine import Engine
from lrnet_cli.reporter import EpochRow
from lrnet_cli.settings.place import Place
from lrnet_cli.training.certainty import altered, calibrated
from lrnet_cli.weights.file import load_weights, save_weights

ROW = EpochRow(3, 0.1, 0.9, 0.1, 0.9, 0.001)


@pytest.fixture(scope="module")
def robust_run(finished_run: Callable[..., Path]) -> Path:
    return finished_run("robust", epochs=4, seed=1, robust=0.5, normalize="ground")


def test_a_seed_alters_the_same_images_alike_and_nothing_else(trained_run: Path) -> None:
    images = limited(load_dataset("optdigits").train, 40, 0)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, again, other = (altered(images, 1.0, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    assert one.images.dtype == torch.uint8
    assert torch.equal(one.labels, images.labels)
    assert not torch.equal(one.images, images.images)


def test_altered_images_make_a_network_less_sure(trained_run: Path) -> None:
    model, card = load_weights(trained_run / "model.safetensors")
    network = Engine.at(Place(device="cpu", precision="fp32")).place(model).eval()
    images = load_dataset("optdigits").train
    clean, spoilt = (
        evaluate(network, split, replace(card, temperature=1.0)) for split in (images, altered(images, 1.0, 0))
    )
    alone, together = calibrated(card, ROW, clean, None), calibrated(card, ROW, clean, spoilt)
    assert together.temperature > 1.3 * alone.temperature
    assert "val_altered_accuracy" not in alone.metrics
    assert together.metrics["val_altered_accuracy"] == spoilt.metrics.accuracy
    assert together.metrics["val_ece"] != alone.metrics["val_ece"]


def test_a_run_knows_what_is_foreign_to_it(robust_run: Path, trained_run: Path) -> None:
    metrics = Classifier.load(robust_run).card.metrics
    assert 0.5 < metrics["val_altered_accuracy"] <= metrics["val_accuracy"]
    for run in (robust_run, trained_run):
        classifier = Classifier.load(run)
        test = load_dataset("optdigits").test.images
        known = [prediction.novelty for prediction in classifier.predict(test)]
        assert all(value is not None for value in known)
        assert sum((value or 0) > 1 for value in known) / len(known) < 0.06
        blank = classifier.predict(torch.full((1, 1, 8, 8), 120, dtype=torch.uint8))
        typical = sorted(value or 0 for value in known)[len(known) // 2]
        assert (blank[0].novelty or 0) > 1.5 * typical


def test_no_augmentation_means_no_altered_images(finished_run: Callable[..., Path]) -> None:
    run = finished_run("plain", epochs=1, seed=1, robust=0.5, augment=False, limit=200)
    assert "val_altered_accuracy" not in load_weights(run / "model.safetensors")[1].metrics


def test_the_python_answer_is_a_class_unless_novelty_is_bounded(trained_run: Path) -> None:
    classifier = Classifier.load(trained_run)
    assert classifier.card.novelty is not None
    strict = replace(classifier.card.novelty, threshold=classifier.card.novelty.threshold / 1000)
    classifier.card = replace(classifier.card, novelty=strict)
    image = load_dataset("optdigits").test.images[:1]
    [answer], [bounded] = classifier.predict(image), classifier.predict(image, max_novelty=1)
    assert answer.label in classifier.card.classes
    assert (bounded.label, bounded.index) == ("unknown", None)
    assert bounded.top == answer.top
    assert (answer.novelty or 0) > 1


def test_weights_of_earlier_versions_do_not_tell(trained_run: Path) -> None:
    classifier = Classifier.load(trained_run)
    classifier.card = replace(classifier.card, novelty=None)
    [answer] = classifier.predict(load_dataset("optdigits").test.images[:1], max_novelty=0.01)
    assert answer.novelty is None
    assert answer.label in classifier.card.classes


def test_foreign_images_are_unknown_to_predict_and_measured_by_eval(
    lrnet: Callable[..., Any], trained_run: Path, tmp_path: Path
) -> None:
    import numpy as np
    from PIL import Image

    for number in range(10):
        folder = tmp_path / "noise" / f"kind{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    result = lrnet("eval", "--weights", trained_run, "--foreign", tmp_path / "noise", "--limit", 100)
    assert result.exit_code == 0
    assert "AUROC" in result.stdout
    assert "called unknown" in result.stdout
    shown = lrnet("predict", tmp_path / "noise", "--weights", trained_run, "--max-novelty", 0.01)
    assert shown.stdout.count("unknown") == 10
    shown = lrnet("predict", tmp_path / "noise", "--weights", trained_run, "--max-novelty", "inf")
    assert "unknown" not in shown.stdout
    refused = lrnet("predict", tmp_path / "noise", "--weights", trained_run, "--max-novelty", 0)
    assert (refused.exit_code, "--max-novelty takes a number above 0, got 0." in refused.stderr) == (2, True)


def test_too_few_validation_images_are_told_at_the_end_of_training(lrnet: Callable[..., Any]) -> None:
    few = lrnet("train --arch cnn --epochs 1 --limit 100 --seed 0 --no-test --out few")
    assert "There are only 21 validation images: 100 or more are needed to calibrate probabilities" in few.stderr
    enough = lrnet("train --arch cnn --epochs 1 --limit 300 --val-fraction 0.4 --seed 0 --no-test --out enough")
    assert (enough.exit_code, "There are only" in enough.stderr) == (0, False)


def test_a_bound_that_weights_cannot_keep_is_told(lrnet: Callable[..., Any], trained_run: Path, tmp_path: Path) -> None:
    from PIL import Image

    model, card = load_weights(trained_run / "model.safetensors")
    save_weights(tmp_path / "old.safetensors", model, replace(card, novelty=None))
    Image.fromarray(load_dataset("optdigits").test.images[0, 0].numpy()).save(tmp_path / "0.png")
    words = ("predict", tmp_path / "0.png", "--weights", tmp_path / "old.safetensors")
    said = "these weights cannot recognise unfamiliar images, so --max-novelty has no effect."
    assert said in lrnet(*words, "--max-novelty", 0.5).stderr
    assert said not in lrnet(*words).stderr
