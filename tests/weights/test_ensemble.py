"""The runs of a series, as one network."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lrnet_cli import Classifier, paths
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import DataError, WeightsError
from lrnet_cli.export.job import export_weights
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.requests import ExportRequest
from lrnet_cli.training.series import train_series
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.find import find_weights

CliRun = Callable[..., Any]


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series") / "scans-3"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_STATE_DIR", str(folder.parent / "state"))
        train_series(TrainConfig(arch="cnn", epochs=1, limit=300, seed=4, out=folder), folds=3)
        newest = paths.newest_run()
    assert newest == folder  # and not the last fold
    return folder


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_logits_are_those_of_the_mean_probabilities(head: Any) -> None:
    torch.manual_seed(0)
    members = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 4)) for _ in range(3)]
    images, temperatures = torch.rand(5, 1, 3, 3), (0.5, 1.0, 2.0)
    logits = Ensemble(members, temperatures, head)(images)
    squash = (lambda z: z.softmax(1)) if head == "softmax" else torch.sigmoid
    pairs = zip(members, temperatures, strict=True)
    expected = sum(squash(member(images) / temperature) for member, temperature in pairs) / 3
    assert torch.allclose(squash(logits), expected, atol=1e-6)


def test_the_novelty_of_a_series_is_the_mean_of_its_runs(folds: Path) -> None:
    images = load_dataset("optdigits").test.images[:40]
    whole = Classifier.load(folds, precision="fp32").predict(images)
    single = [
        Classifier.load(folds / f"seed-4-fold-{number}", precision="fp32").predict(images) for number in (1, 2, 3)
    ]
    for answer, *others in zip(whole, *single, strict=True):
        assert answer.novelty == pytest.approx(sum(one.novelty for one in others) / 3, rel=1e-4)
    assert load_weights(folds)[1].needs_description
    bound = sorted(answer.novelty for answer in whole)[20]
    answers = Classifier.load(folds, precision="fp32").predict(images, max_novelty=bound)
    assert [answer.label == "unknown" for answer in answers] == [answer.novelty > bound for answer in whole]


def test_the_classifier_of_a_series_answers_the_mean_of_its_runs(folds: Path) -> None:
    images = load_dataset("optdigits").test.images[:40]
    whole = Classifier.load(folds, precision="fp32").predict(images)
    single = [
        Classifier.load(folds / f"seed-4-fold-{number}", precision="fp32").predict(images) for number in (1, 2, 3)
    ]
    temperature = load_weights(folds)[1].temperature
    assert temperature != 1.0
    for place, answer in enumerate(whole):
        shares = [dict(one[place].top) for one in single]
        means = {label: sum(each[label] for each in shares) / 3 for label, _ in answer.top}
        (first, most), *others = answer.top
        for label, share in others:
            assert share / most == pytest.approx((means[label] / means[first]) ** (1 / temperature), abs=1e-5)


def test_every_command_takes_a_series_and_tells_the_honest_figure(lrnet: CliRun, folds: Path, tmp_path: Path) -> None:
    result = json.loads((folds / "result.json").read_text())
    evaluated = lrnet("eval", "--weights", folds, "--dataset", "optdigits", "--report", "r.html")
    assert evaluated.exit_code == 0
    assert "the mean of 3 networks" in evaluated.stderr
    assert re.search(r"About \d+% of these images were used to train at least 2 of them, so", evaluated.stderr)
    honest = result["test_accuracy"]["value"]
    assert f"The cross-validated accuracy of single networks is {honest:.4f}" in evaluated.stderr
    for label in "0123":  # of images that no network has seen
        (tmp_path / "new" / label).mkdir(parents=True)
        for number in range(3):
            Image.effect_noise((8, 8), 60).save(tmp_path / "new" / label / f"{number}.png")
    evaluated = lrnet("eval", "--weights", folds, "--dataset", tmp_path / "new")
    assert (evaluated.exit_code, "to train at least" in evaluated.stderr) == (0, False), evaluated.stderr
    Image.fromarray(load_dataset("optdigits").test.images[0, 0].numpy()).save(tmp_path / "0.png")
    words = ("predict", tmp_path / "0.png", "--weights", folds, "--output", tmp_path / "rows.csv")
    assert lrnet(*words).exit_code == 0
    assert "already has a row for each input" in lrnet(*words, "--resume").stderr
    assert "network       cnn, the mean of 3 networks, 10 classes: " in lrnet("info", "--weights", folds).stdout
    for words in (("train", "--init", folds), ("train", "--distill", folds, "--seed", 4)):
        refused = lrnet(*words)
        assert (refused.exit_code, "holds several runs; name one of them" in refused.stderr) == (1, True)


def test_a_series_that_was_killed_is_still_of_folds(folds: Path, tmp_path: Path) -> None:
    shutil.copytree(folds, tmp_path / "killed")
    (tmp_path / "killed" / "result.json").unlink()
    assert load_weights(tmp_path / "killed")[1].protocol["folds"] == 3
    (tmp_path / "killed" / "series.json").write_text("{")
    with pytest.raises(WeightsError, match=r"series\.json: is damaged .*; name one of the runs"):
        load_weights(tmp_path / "killed")


@pytest.mark.slow
def test_a_series_is_exported_as_one_network(folds: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    export_weights(ExportRequest(weights=str(folds), to=tmp_path / "whole.onnx"), Reporter())
    images = load_dataset("optdigits").test.images[:20]
    here, there = (
        Classifier.load(path, device="cpu", precision="fp32").predict(images)
        for path in (folds, tmp_path / "whole.onnx")
    )
    for one, other in zip(here, there, strict=True):
        assert one.label == other.label
        assert one.novelty == pytest.approx(other.novelty, rel=1e-3)
        assert one.probability == pytest.approx(other.probability, abs=1e-4)


def test_runs_that_do_not_fit_together_and_empty_series_are_refused(folds: Path, tmp_path: Path) -> None:
    (tmp_path / "series.json").write_text("{}")
    with pytest.raises(WeightsError, match="none of its runs has weights yet; finish it with: lrnet train --resume"):
        find_weights(tmp_path)
    for name, source in (("a", folds / "seed-4-fold-1"), ("b", find_weights("digits").parent)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"b/model\.safetensors: its classes, head or preprocessing differ"):
        load_weights(tmp_path)


def test_folds_of_too_small_a_class_name_it_and_what_would_work(tmp_path: Path) -> None:
    for label, count in (("common", 12), ("rare", 3)):
        for number in range(count):
            (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 9 * number).save(tmp_path / "set" / label / f"{number}.png")
    with pytest.raises(DataError, match=r"set: class rare has 3 images, too few.*5 folds; use at most 3 folds"):
        load_dataset(str(tmp_path / "set"), fold=(1, 5))
