"""Classes of unequal sizes: weights, sampling, and what decides which epoch is kept."""

import csv
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import SettingError, UsageError
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.heads import head_loss
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import EpochRow, Reporter
from lrnet_cli.runs.folder import read_rows, write_rows
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Place
from lrnet_cli.training.class_weights import class_weights_of
from lrnet_cli.training.prepare import prepare
from lrnet_cli.training.step import Step
from lrnet_cli.training.train import train
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.find import find_weights

LABELS = torch.tensor([0] * 6 + [1] * 2 + [2] * 4)


def test_balanced_weights_let_every_class_count_the_same() -> None:
    weights = class_weights_of("balanced", ("a", "b", "c"), LABELS)
    assert weights is not None
    sums = [float(weights[label] * (label == LABELS).sum()) for label in range(3)]
    assert sums == pytest.approx([4, 4, 4])
    assert class_weights_of("none", ("a", "b", "c"), LABELS) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("w.json", '{"a": 1, "b": 3, "c": 0}'), ("w.csv", "class,weight\na,1\nb,3\nc,0\n"), ("w.csv", "c,0\nb,3\na,1\n")],
)
def test_weights_of_a_file_are_matched_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    weights = class_weights_of(str(tmp_path / name), ("a", "b", "c"), LABELS)
    assert weights is not None
    assert weights.tolist() == pytest.approx([1, 3, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', "has no weight for the classes b, c"),
        ('{"a": -1, "b": 1, "c": 1}', "weights are numbers from 0 up"),
        ('{"a": NaN, "b": 1, "c": 1}', "weights are numbers from 0 up"),
        ('{"a": 0, "b": 0, "c": 0}', "have no weight"),
        ('["a"]', "takes none, balanced, or a .json or .csv file"),
        ("{", "takes none, balanced, or a .json or .csv file"),
        ('{"a": "much"}', "takes none, balanced, or a .json or .csv file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        class_weights_of(str(tmp_path / "w.json"), ("a", "b", "c"), LABELS)


@pytest.mark.parametrize(
    ("name", "ending"), [("gone.csv", r"gone\.csv\.$"), ("balance", r"balance\. Did you mean balanced\?$")]
)
def test_a_file_that_is_missing_may_be_a_word_misspelt(tmp_path: Path, name: str, ending: str) -> None:
    with pytest.raises(UsageError, match=f"there is no file .*{ending}"):
        class_weights_of(str(tmp_path / name), ("a", "b", "c"), LABELS)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_loss_of_an_image_is_weighed_by_its_class(head: Any) -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(12, 3), LABELS, torch.tensor([0.5, 2.0, 1.0])
    each = torch.stack([head_loss(logits[n : n + 1], labels[n : n + 1], head, 0.1) for n in range(12)])
    assert torch.allclose(head_loss(logits, labels, head, 0.1), each.mean())
    assert torch.allclose(head_loss(logits, labels, head, 0.1, weights), (each * weights[labels]).mean())


@pytest.fixture(scope="module")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give class folders of real scans, of which one class has ten times as many as the others."""
    root = tmp_path_factory.mktemp("unequal")
    scans = load_dataset("optdigits").train
    for label, count in ((1, 120), (7, 12), (8, 12)):
        for number, index in enumerate((scans.labels == label).nonzero()[:count, 0].tolist()):
            (root / str(label)).mkdir(exist_ok=True)
            Image.fromarray(scans.images[index, 0].numpy()).save(root / str(label) / f"{number}.png")
    return root


def a_step(unequal: Path, **settings: Any) -> Step:
    config = TrainConfig(dataset=str(unequal), image_size=8, seed=3, batch_size=4, **settings)
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="fp32")), ALONE, Reporter())
    return Step(run)


def test_a_balanced_sampler_shows_every_class_equally_often(unequal: Path, tmp_path: Path) -> None:
    step = a_step(unequal, sampler="balanced", passes=1, out=tmp_path / "run")
    labels, n = step.run.train_split.labels, len(step.run.train_split)
    order = torch.cat(list(step.batches_left()))
    shown = torch.bincount(labels[order])
    assert len(order) == n // 4 * 4
    assert int(shown.max() - shown.min()) <= 4
    # All images of a small class come before any comes again.
    times = torch.bincount(order, minlength=n)[labels == 2]
    assert int(times.max() - times.min()) <= 1
    again = torch.cat(list(a_step(unequal, sampler="balanced", passes=1, out=tmp_path / "again").batches_left()))
    assert torch.equal(order, again)
    uniform = torch.cat(list(a_step(unequal, passes=1, out=tmp_path / "uniform").batches_left()))
    assert len(uniform.unique()) == len(uniform)


def test_weights_help_small_classes_and_the_card_tells(unequal: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dataset": str(unequal), "image_size": 8, "seed": 3, "epochs": 2, "augment": False}
    train(
        TrainConfig(
            **settings, arch="cnn", class_weights="balanced", select="balanced-accuracy", out=tmp_path / "weighed"
        )
    )
    _, card = load_weights(tmp_path / "weighed" / "model.safetensors")
    assert card.protocol["recipe"]["class_weights"] == "balanced"
    rows = list(csv.DictReader((tmp_path / "weighed" / "metrics.csv").read_text().splitlines()))
    assert all(0 <= float(row["val_score"]) <= 1 for row in rows)
    scored = [(row | {"val_score": float(row["val_score"]), "epoch": int(row["epoch"])}) for row in rows]
    assert card.metrics["best_epoch"] == expected(scored, "val_score", card.dataset["val"])
    text = (tmp_path / "weighed" / "README.md").read_text()
    assert "--class-weights balanced" in text
    assert "calibration error from" in text


def expected(rows: Sequence[Mapping[str, Any]], column: str, images: float) -> int:
    """Return the latest epoch that is within one standard error of the best."""
    best = max(row[column] for row in rows)
    error = math.sqrt(max(0.0, best * (1 - best)) / images)
    return max(row["epoch"] for row in rows if row[column] >= best - error)


@pytest.mark.parametrize("select", ["balanced-accuracy", "macro-f1", "loss", "accuracy"])
def test_the_epoch_kept_is_the_best_by_what_is_chosen(unequal: Path, tmp_path: Path, select: Any) -> None:
    settings: dict[str, Any] = {"dataset": str(unequal), "image_size": 8, "seed": 1, "epochs": 3, "limit": 60}
    result = train(TrainConfig(**settings, arch="cnn", select=select, out=tmp_path / "run"))
    rows = read_rows(tmp_path / "run")
    column = "val_accuracy" if select == "accuracy" else "val_score"
    _, card = load_weights(tmp_path / "run" / "model.safetensors")
    images = math.inf if select == "loss" else card.dataset["val"]
    assert result["best_epoch"] == expected(rows, column, images)
    assert ("val_score" in rows[0]) == (select != "accuracy")
    if select == "loss":
        assert [row["val_score"] for row in rows] == [-row["val_loss"] for row in rows]


def test_rows_of_earlier_versions_are_read(tmp_path: Path) -> None:
    write_rows(tmp_path, [EpochRow(1, 0.5, 0.8, 0.4, 0.9, 0.01)])
    assert "val_score" not in (tmp_path / "metrics.csv").read_text()
    assert read_rows(tmp_path)[0]["val_accuracy"] == 0.9


def test_frozen_blocks_keep_their_weights(lrnet: Callable[..., Any], tmp_path: Path, unequal: Path) -> None:
    words = ("--dataset", unequal, "--image-size", 8, "--epochs", 1, "--seed", 1, "--init", "digits")
    assert lrnet("train", *words, "--freeze", 2, "--out", tmp_path / "run").exit_code == 0
    before, after = (load_weights(find_weights(name))[0] for name in ("digits", tmp_path / "run"))
    changed = {
        name.split(".")[0]
        for (name, one), other in zip(before.named_parameters(), after.parameters(), strict=True)
        if one.shape != other.shape or not torch.equal(one, other)
    }
    assert changed == {"block3", "fc1", "fc2", "fc3", "fc4", "out"}
    card = load_weights(tmp_path / "run" / "model.safetensors")[1]
    assert card.protocol["recipe"]["init"] == "digits"
    assert len(card.protocol["recipe"]["init_sha256"]) == 64
    refused = lrnet("train", "--freeze", 2)
    assert (refused.exit_code, "give that too" in refused.stderr) == (2, True)


def test_numbers_of_a_class_that_is_empty_do_not_matter() -> None:
    weights = class_weights_of("balanced", ("a", "b", "c", "none"), LABELS)
    assert weights is not None
    assert np.isfinite(weights.numpy()).all()


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
def test_class_weights_from_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.json")
    with pytest.raises(SettingError, match="pipe or device"):
        class_weights_of(str(tmp_path / "w.json"), ("a", "b"), LABELS)
