import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.engine import Engine
from lrnet_cli.errors import ImageError
from lrnet_cli.inference import Classifier, Prediction, predict_logits


@pytest.fixture(scope="module")
def classifier(trained_run: Path) -> Classifier:
    return Classifier.load(trained_run / "model.safetensors", Engine(torch.device("cpu")))


def written(folder: Path, count: int, scale: int = 1, inverted: bool = False) -> tuple[list[Path], list[str]]:
    test = load_dataset("optdigits").test
    paths = []
    for number, picture in enumerate(test.images[:count, 0].numpy()):
        pixels = np.kron(255 - picture if inverted else picture, np.ones((scale, scale), np.uint8))
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths, [str(label) for label in test.labels[:count].tolist()]


@pytest.mark.parametrize(("scale", "inverted"), [(1, False), (10, False), (10, True)])
def test_picture_files_are_labelled_like_the_arrays_they_were_made_of(
    classifier: Classifier, tmp_path: Path, scale: int, inverted: bool
) -> None:
    files, labels = written(tmp_path, 100, scale, inverted)
    outcomes = [outcome for _, outcome in classifier.predict(files)]
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    right = [outcome.label == label for outcome, label in zip(outcomes, labels, strict=True)]
    assert np.mean(right) >= 0.9
    if inverted:
        # Scans cropped to their ink show little background at their border.
        assert np.mean([outcome.inverted for outcome in outcomes]) >= 0.9


def test_predictions_hold_every_class_in_order_and_sum_to_one(classifier: Classifier, tmp_path: Path) -> None:
    [(_, prediction)] = classifier.predict(written(tmp_path, 1)[0])
    shares = [share for _, share in prediction.top]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert {label for label, _ in prediction.top} == set(classifier.card.classes)
    assert prediction.top[0] == (prediction.label, prediction.probability)
    assert classifier.card.classes[prediction.index] == prediction.label


def test_bad_files_are_answered_in_their_place(classifier: Classifier, tmp_path: Path) -> None:
    files, _ = written(tmp_path, 3)
    (tmp_path / "bad.png").write_bytes(b"")
    mixed = [files[0], tmp_path / "bad.png", files[1], tmp_path / "nowhere.png", files[2]]
    outcomes = list(classifier.predict(mixed))
    assert [path for path, _ in outcomes] == mixed
    kinds = [type(outcome) for _, outcome in outcomes]
    assert kinds == [Prediction, ImageError, Prediction, ImageError, Prediction]


def test_batches_do_not_change_the_answers(classifier: Classifier) -> None:
    images = load_dataset("optdigits").test.images[:300]
    together = predict_logits(classifier.model, images)
    alone = torch.cat([predict_logits(classifier.model, image[None]) for image in images[-20:]])
    assert torch.allclose(together[-20:], alone, atol=1e-4)


def test_paths_are_consumed_a_batch_at_a_time(classifier: Classifier, tmp_path: Path) -> None:
    [file], _ = written(tmp_path, 1)
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield file

    next(iter(classifier.predict(endless())))
    assert taken <= 256


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_that_are_not_utf8_are_read(classifier: Classifier, tmp_path: Path) -> None:
    [file], _ = written(tmp_path, 1)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    file.rename(odd)
    [(path, outcome)] = classifier.predict([odd])
    assert path == odd
    assert isinstance(outcome, Prediction)
