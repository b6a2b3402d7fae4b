import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrnet_cli.evaluation.evaluate import RECORDED
from lrnet_cli.evaluation.run import evaluate_weights
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.file import load_weights

CliRun = Callable[..., Any]


def test_every_figure_is_printed_and_on_the_page(lrnet: CliRun, trained_run: Path) -> None:
    shown = lrnet("eval", "--weights", trained_run, "--limit", "100", "--report", "r.html").stdout
    page = Path("r.html").read_text(encoding="utf-8")
    figures = evaluate_weights(EvalRequest(weights=str(trained_run), limit=100)).figures()
    assert {"accuracy", "auc", "unknown"} < {figure.key for figure in figures}
    for figure in figures:
        assert re.search(rf"^  {re.escape(figure.name)} +{figure.value:.4f}", shown, re.MULTILINE)
        assert f"<dt>{figure.name}</dt><dd>{figure.value:.4f}<" in page


def test_recorded_figures_are_in_result_weights_and_card(trained_run: Path) -> None:
    result = json.loads((trained_run / "result.json").read_text())
    metrics = load_weights(trained_run / "model.safetensors")[1].metrics
    text = (trained_run / "README.md").read_text(encoding="utf-8")
    for key in RECORDED:
        assert result[f"test_{key}"] == metrics[f"test_{key}"]
        value = result[f"test_{key}"]
        shown = [value] if isinstance(value, float) else value
        assert all(f"{number:.4f}" in text for number in shown)


def test_the_document_tells_calibration_mistakes_and_top_k(lrnet: CliRun, trained_run: Path) -> None:
    document = json.loads(lrnet("eval", "--weights", trained_run, "--json").stdout)
    trained = json.loads((trained_run / "result.json").read_text())
    assert document["ece"] == trained["test_ece"]
    assert document["ece_uncalibrated"] == trained["test_ece_uncalibrated"]
    assert document["temperature"] != 1
    assert document["accuracy"] <= document["top_k_accuracy"]["2"] <= document["top_k_accuracy"]["5"] <= 1
    assert sum(part["count"] for part in document["reliability"]) == document["n"]
    assert 0 < len(document["mistakes"]) <= 10
    assert set(document["mistakes"][0]) == {"index", "true", "predicted", "probability"}


def test_for_people_mistakes_and_reliability_are_tables(lrnet: CliRun, trained_run: Path) -> None:
    result = lrnet("eval", "--weights", trained_run)
    for text in ("before calibration", "log loss", "top-2 accuracy", "Reliability", "Most confident mistakes"):
        assert text in result.stdout


def test_views_are_averaged_where_asked(lrnet: CliRun, trained_run: Path) -> None:
    one, several = (
        json.loads(lrnet("eval", "--weights", trained_run, "--json", *words).stdout) for words in ([], ["--tta"])
    )
    assert (one["tta"], several["tta"]) == (False, True)
    assert one["loss"] != several["loss"]


def test_weights_of_other_images_are_compared_on_those_that_were_set_aside(lrnet: CliRun, trained_run: Path) -> None:
    alone, compared = (
        json.loads(lrnet("eval", "--weights", trained_run, *words, "--json").stdout)
        for words in ((), ("--against", "digits"))
    )
    assert compared["n"] == alone["n"]
    assert compared["accuracy"] == alone["accuracy"]


def test_two_weights_are_compared_image_by_image(lrnet: CliRun, trained_run: Path) -> None:
    lrnet("train --epochs 1 --limit 100 --seed 5 --out other --no-test")
    words = ("eval", "--weights", trained_run, "--against", "other")
    document = json.loads(lrnet(*words, "--json").stdout)
    against = document["against"]
    n = document["n"]
    assert against["both_right"] + against["only_first"] + against["only_second"] + against["both_wrong"] == n
    assert document["accuracy"] == pytest.approx((against["both_right"] + against["only_first"]) / n)
    assert against["accuracy"] == pytest.approx((against["both_right"] + against["only_second"]) / n)
    assert against["p_value"] < 0.01
    assert len(against["disagreements"]) >= against["only_first"] + against["only_second"]
    table = lrnet(*words).stdout
    assert "McNemar's exact test    p = " in table
    assert f"of {len(against['disagreements'])} disagreements" in table


@pytest.mark.slow
def test_corruptions_are_told_drawn_and_reported(lrnet: CliRun, trained_run: Path) -> None:
    words = ("eval", "--weights", trained_run, "--limit", "30", "--corruptions")
    result = lrnet(*words, "--plot", "p.png", "--report", "r.html", "--json")
    assert result.exit_code == 0
    corruptions = json.loads(result.stdout)["corruptions"]
    assert (corruptions["seed"], len(corruptions["cases"])) == (0, 120)
    assert set(corruptions["cases"][0]) == {"name", "severity", "strength", "accuracy", "accuracy_ci95", "ece"}
    with Image.open("p.png") as plot:
        assert min(plot.size) > 500
    page = Path("r.html").read_text(encoding="utf-8")
    assert f"{corruptions['mean_accuracy']:.4f}" in page
    assert {"rotation", "shear", "translation"} <= set(corruptions["familiar"])  # of the default augmentation
    assert "Corruptions unlike any in training" in page
    assert "Report: r.html" in result.stderr
    table = lrnet(*words).stdout
    assert "Accuracy under corruptions like some in training" in table
    assert "Accuracy under corruptions unlike any in training" in table
    assert f"Mean over the first twelve corruptions {corruptions['mean_accuracy']:.4f}" in table


def test_places_that_cannot_be_written_are_told_before_the_work_begins(lrnet: CliRun, trained_run: Path) -> None:
    words = ("eval", "--weights", trained_run, "--limit", "20")
    targets = (["--report", "nowhere/r.html"], ["--corruptions", "--plot", "nowhere/p.png"])
    for option in (*targets, ["--predictions", "nowhere/p.csv"]):
        result = lrnet(*words, *option)
        assert result.exit_code == 2
        assert "cannot be written (No such file or directory)" in result.stderr
        assert "Weights: " not in result.stderr
    assert lrnet(*words, "--report", ".").exit_code == 2
    assert lrnet(*words, "--plot", "p.png").exit_code == 2


def test_figures_are_printed_though_the_report_fails(lrnet: CliRun, trained_run: Path, isolated_user: Path) -> None:
    (isolated_user / "model.safetensors").write_bytes((trained_run / "model.safetensors").read_bytes())
    (isolated_user / "metrics.csv").write_text("epoch\n1\n")
    result = lrnet("eval", "--weights", "model.safetensors", "--limit", "20", "--report", "r.html", "--json")
    assert (result.exit_code, json.loads(result.stdout)["n"]) == (1, 20)


@pytest.fixture
def own_run(lrnet: CliRun, tmp_path: Path) -> Path:
    """Give the folder of a run that was trained on class folders beside it."""
    random = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "stamps" / ("crown", "lion")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.png")
    words = ("--image-size", 8, "--epochs", 1, "--seed", 0, "--out", tmp_path / "run")
    assert lrnet("train", "--dataset", tmp_path / "stamps", *words).exit_code == 0
    return tmp_path / "run"


def test_the_folder_that_weights_were_trained_on_is_found_again(lrnet: CliRun, own_run: Path, tmp_path: Path) -> None:
    result = lrnet("eval", "--against", own_run, "--foreign", "optdigits", "--limit", 4, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["dataset"] == "stamps"
    said = f"Data set: {tmp_path / 'stamps'}, on which the weights were trained, unchanged since."
    assert said in result.stderr


def test_a_folder_that_has_changed_or_gone_is_to_be_named(lrnet: CliRun, own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "stamps" / "lion" / "1.png").unlink()
    changed = lrnet("eval", "--weights", own_run)
    assert (changed.exit_code, "stamps, whose images are no longer the same" in changed.stderr) == (2, True)
    exported = lrnet("export", "--weights", own_run, "--int8", "--to", "m.onnx")
    assert (exported.exit_code, "stamps, whose images are no longer the same" in exported.stderr) == (2, True)
    (tmp_path / "stamps").rename(tmp_path / "moved")
    gone = lrnet("eval", "--weights", own_run)
    assert (gone.exit_code, "stamps, which is not a known data set; give its path" in gone.stderr) == (2, True)
    assert lrnet("eval", "--weights", own_run, "--dataset", tmp_path / "moved").exit_code == 0


def test_images_that_the_weights_have_seen_are_no_test(lrnet: CliRun, own_run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "stamps" / "lion" / "new.png")
    grown = lrnet("eval", "--weights", own_run, "--dataset", tmp_path / "stamps")
    assert "About 80% of these images were used to train these weights" in grown.stderr
    assert "were used to train" not in lrnet("eval", "--weights", own_run, "--dataset", "optdigits").stderr


def test_a_report_needs_no_run_folder_and_tells_damaged_curves(
    lrnet: CliRun, trained_run: Path, isolated_user: Path
) -> None:
    weights = isolated_user / "model.safetensors"
    weights.write_bytes((trained_run / "model.safetensors").read_bytes())
    words = ("eval", "--weights", weights, "--limit", "20", "--report", "r.html")
    assert lrnet(*words).exit_code == 0
    assert "h-curves" not in Path("r.html").read_text(encoding="utf-8")
    for content in ("epoch,train_loss\n1,abc\n", "epoch\n1\n"):
        (isolated_user / "metrics.csv").write_text(content)
        result = lrnet(*words)
        assert result.exit_code == 1
        assert "the learning curves" in result.stderr


@pytest.mark.parametrize(
    ("words", "flip", "shift"),
    [
        ("--flip on --still-epochs 0", "on", 0.05),
        ("--flip off --still-epochs 0", "off", 0.05),
        ("--flip on", "off", 0.0),
    ],
)
def test_the_card_tells_whether_images_were_moved_and_mirrored(
    lrnet: CliRun, words: str, flip: str, shift: float
) -> None:
    from lrnet_cli.weights.file import load_weights

    shown = lrnet(f"train --epochs 1 --limit 100 --seed 5 --out r --no-test {words}")
    recipe = load_weights(Path("r/model.safetensors"))[1].protocol["recipe"]
    assert (recipe["flip"], recipe["shift"]) == (flip, shift)
    assert ("(--still-epochs)" in shown.stderr) == (shift == 0.0)


def test_of_many_classes_the_worst_are_shown_and_every_figure_has_an_interval(
    lrnet: CliRun, finished_run: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for label in range(25):
        for number in range(6):
            folder = tmp_path / "set" / f"glyph{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.png")
    run = tmp_path / "run"
    assert lrnet("train", "--dataset", tmp_path / "set", "--image-size", 8, "--epochs", 1, "--out", run).exit_code == 0
    shown = lrnet("eval", "--weights", run, "--dataset", tmp_path / "set").stdout
    assert "The 20 worst of 25 classes" in shown
    assert "Most frequent confusions" in shown
    assert "predicted →" not in shown
    for name in ("balanced accuracy", "macro F1", "AUC, one vs rest"):
        assert re.search(rf"{name} +0\.\d{{4}} \(95% interval 0\.\d{{4}} to [01]\.\d{{4}}\)", shown)
    document = json.loads(lrnet("eval", "--weights", run, "--dataset", tmp_path / "set", "--json").stdout)
    low, high = document["balanced_accuracy_ci95"]
    assert low <= document["balanced_accuracy"] <= high
    assert document["mistakes"][0]["path"].startswith(str(tmp_path / "set"))
    refused = lrnet("eval", "--weights", run, "--dataset", tmp_path / "set", "--probabilities")
    assert (refused.exit_code, "give both" in refused.stderr) == (2, True)
