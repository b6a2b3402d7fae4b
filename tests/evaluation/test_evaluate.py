import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import DataError
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.predictions import write_predictions
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.settings.requests import EvalRequest

CPU = Engine(torch.device("cpu"))


class Messages(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def evaluated(weights: Path, reporter: Reporter = SILENT, **asked: Any) -> Evaluation:
    request = EvalRequest(**asked)
    return load_setup(weights, request, CPU, reporter=reporter).evaluate(tta=request.tta)


@pytest.fixture
def weights(trained_run: Path) -> Path:
    return trained_run / "model.safetensors"


def as_class_folders(root: Path, names: list[str], count: int = 60) -> Path:
    train = load_dataset("optdigits").train
    for number in range(count):
        folder = root / "test" / names[int(train.labels[number])]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(train.images[number, 0].numpy()).save(folder / f"{number}.png")
    (root / "train").symlink_to(root / "test", target_is_directory=True)
    return root


def test_the_data_set_of_the_weights_is_the_default(weights: Path) -> None:
    assert evaluated(weights).dataset == "optdigits"


def test_limit_takes_the_same_images_every_time(weights: Path) -> None:
    first, second = (evaluated(weights, split="train", limit=50) for _ in range(2))
    assert first.metrics.n == 50
    assert torch.equal(first.labels, second.labels)


def test_class_folders_are_evaluated_with_classes_matched_by_name(weights: Path, tmp_path: Path) -> None:
    digits = as_class_folders(tmp_path / "digits", [str(i) for i in range(10)])
    evaluation = evaluated(weights, dataset=str(digits))
    assert evaluation.metrics.accuracy > 0.9
    assert evaluation.classes == tuple("0123456789")


def test_unknown_classes_are_refused(weights: Path, tmp_path: Path) -> None:
    words = as_class_folders(tmp_path / "words", [f"digit{i}" for i in range(10)])
    with pytest.raises(DataError, match="10 classes that the weights do not know: digit0"):
        evaluated(weights, dataset=str(words))


def test_a_missing_validation_split_is_told(weights: Path) -> None:
    with pytest.raises(DataError, match="has no validation split"):
        evaluated(weights, split="val")


def test_predictions_are_written_a_row_an_image(weights: Path, tmp_path: Path) -> None:
    evaluation = evaluated(weights)
    write_predictions(tmp_path / "p.csv", evaluation)
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert len(rows) == 359
    assert np.mean([row["correct"] == "True" for row in rows]) == pytest.approx(evaluation.metrics.accuracy)
    with pytest.raises(FileNotFoundError):  # which the command, or the run, says in a sentence
        write_predictions(tmp_path / "nowhere" / "p.csv", evaluation)


def test_mistakes_are_told_surest_first(weights: Path) -> None:
    evaluation = evaluated(weights)
    mistakes = evaluation.mistakes(1000)
    assert len(mistakes) == round((1 - evaluation.metrics.accuracy) * 359)
    assert [m.probability for m in mistakes] == sorted((m.probability for m in mistakes), reverse=True)
    assert all(
        m.true != m.predicted == evaluation.classes[int(evaluation.probabilities[m.index].argmax())] for m in mistakes
    )
    assert evaluation.mistakes(2) == mistakes[:2]


def test_calibration_changes_no_label_and_is_told_before_and_after(weights: Path) -> None:
    setup = load_setup(weights, EvalRequest(), CPU)
    calibrated = setup.evaluate()
    plain = replace(setup, opened=replace(setup.opened, card=replace(setup.card, temperature=1.0))).evaluate()
    assert setup.card.temperature != 1.0
    assert torch.equal(calibrated.probabilities.argmax(1), plain.probabilities.argmax(1))
    assert calibrated.ece_uncalibrated == pytest.approx(plain.metrics.ece)
    assert calibrated.metrics.loss != plain.metrics.loss  # surely less only on the split it was fitted on


def test_averaging_over_views_changes_probabilities_and_keeps_most_labels(weights: Path) -> None:
    one, several = (evaluated(weights, tta=tta) for tta in (False, True))
    assert not torch.equal(one.logits, several.logits)
    same = one.probabilities.argmax(1) == several.probabilities.argmax(1)
    assert same.float().mean() > 0.85


def test_every_image_of_a_folder_is_named(weights: Path, tmp_path: Path) -> None:
    digits = as_class_folders(tmp_path / "digits", [str(i) for i in range(10)])
    evaluation = evaluated(weights, dataset=str(digits))
    write_predictions(tmp_path / "p.csv", evaluation, every_class=True)
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert len(rows) == 60
    for row in rows:
        assert Path(row["path"]).parent.name == row["true"]
        shares = {name: float(row[f"probability of {name}"]) for name in "0123456789"}
        assert max(shares, key=lambda name: shares[name]) == row["predicted"]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    for mistake in evaluation.mistakes(100):
        assert mistake.path is not None
        assert Path(mistake.path).parent.name == mistake.true


def test_a_source_without_splits_is_evaluated_whole_unless_it_was_trained_on(weights: Path, tmp_path: Path) -> None:
    folders = as_class_folders(tmp_path / "digits", [str(i) for i in range(10)]) / "test"
    heard = Messages()
    evaluation = evaluated(weights, dataset=str(folders), reporter=heard)
    assert evaluation.metrics.n == 60
    assert "test: has no test split, so all of its 60 images are evaluated." in heard.said
    evaluated(weights, dataset=str(folders), limit=4, reporter=heard)
    assert "test: has no test split, so 4 of its 60 images are evaluated." in heard.said
    heard.said.clear()
    assert evaluated(weights, reporter=heard).metrics.n == 359
    assert heard.said == [
        "optdigits: has no test split; the 359 images that were set aside in training are evaluated, and the other "
        "1438 are left out (--split train evaluates those)."
    ]
