"""Which images are selected for a person to label, and what becomes of them in review and training."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from lrnet_cli.errors import WeightsError
from lrnet_cli.models.edges import edges_of
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.features import WithFeatures, points_of
from lrnet_cli.models.logits import as_input, predict_logits
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.models.registry import build
from lrnet_cli.reporter import Reporter
from lrnet_cli.selection.job import Selection, select_images
from lrnet_cli.selection.spread import spread
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Place
from lrnet_cli.settings.requests import SelectRequest
from lrnet_cli.training.train import train
from lrnet_cli.weights.file import load_weights

IMAGES = 150
NONE = np.empty(0, dtype=np.int64)


class Messages(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(autouse=True)
def scans(isolated_user: Path) -> Path:
    """Write scanned digits to ``scans/``, beside which the tests work."""
    folder = isolated_user / "scans"
    folder.mkdir()
    for number, image in enumerate(load_digits().images[:IMAGES]):
        Image.fromarray((image * 15).astype("uint8")).save(folder / f"{number:03}.png")
    return folder


def label_of(path: str) -> str:
    return str(load_digits().target[int(Path(path).stem)])


def answer(selected: Path, answered: Path) -> None:
    """Write ``selected`` again with each label, as a review page saves it."""
    rows = list(csv.DictReader(selected.read_text(encoding="utf-8").splitlines()))
    with answered.open("w", encoding="utf-8", newline="") as target:
        table = csv.DictWriter(target, rows[0])
        table.writeheader()
        table.writerows(row | {"label": label_of(row["file_name"]), "reviewed": "yes"} for row in rows)


def select(weights: Path | None, n: int = 30, **more: Any) -> Selection:
    return select_images(SelectRequest(inputs=("scans",), n=n, weights=weights and str(weights), **more))


def blobs(sizes: list[int]) -> tuple[Any, Any]:
    """Return points in groups of these sizes, far from each other, and the group of each."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(len(sizes))[groups] + np.random.default_rng(0).normal(0, 0.01, (len(groups), len(sizes))), groups


def test_each_kind_of_image_is_selected_once_however_rare_it_is() -> None:
    points, groups = blobs([300, 100, 30, 10, 5])
    assert sorted(groups[spread(points, 5, 3, NONE)]) == [0, 1, 2, 3, 4]


def test_the_most_central_image_of_a_kind_is_selected() -> None:
    points, groups = blobs([50, 50])
    for index in spread(points, 2, 0, NONE):
        alike = points[groups == groups[index]]
        distances = np.linalg.norm(alike - alike.mean(0), axis=1)
        assert np.linalg.norm(points[index] - alike.mean(0)) == distances.min()


def test_kinds_without_a_label_come_before_those_with_one() -> None:
    points, groups = blobs([40, 40, 40, 40])
    known = np.array([0, 41])
    chosen = spread(points, 2, 0, known)
    assert sorted(groups[chosen]) == [2, 3]
    assert not set(known) & set(spread(points, 158, 0, known))


def test_the_most_doubtful_image_of_a_kind_is_selected() -> None:
    points, groups = blobs([40, 40, 40])
    doubt = np.random.default_rng(1).random(len(points))
    assert all(doubt[index] == doubt[groups == groups[index]].max() for index in spread(points, 3, 0, NONE, doubt))


def test_all_copies_of_one_image_are_a_single_kind() -> None:
    points = np.ones((20, 3))
    assert sorted(spread(points, 5, 0, NONE)) == [0, 1, 2, 3, 4]


def test_points_do_not_depend_on_the_scale_of_a_feature() -> None:
    values = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    points = points_of(values)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-6)
    stretched = points_of(values * torch.tensor([1, 10, 100, 1, 1, 1, 1, 1]) + 5)
    np.testing.assert_allclose(stretched @ stretched.T, points @ points.T, atol=1e-4)


def test_points_are_apart_where_edges_or_features_are() -> None:
    edges, features = torch.eye(4)[[0, 0, 1, 1]], torch.eye(4)[[0, 1, 0, 1]]
    apart = np.linalg.norm(points_of(edges, features)[0] - points_of(edges, features), axis=1)
    assert 0 == apart[0] < apart[2] < apart[1] < apart[3]  # features count more


def test_edges_are_those_of_the_inverted_image_and_tell_directions_apart() -> None:
    digits = torch.from_numpy(np.rint(load_digits().images[:20] * 15).astype(np.uint8))[:, None]
    edges = edges_of(digits)
    assert edges.shape == (20, 288)
    torch.testing.assert_close(edges_of(255 - digits), edges)
    torch.testing.assert_close(edges_of(digits.expand(-1, 3, -1, -1)), edges)
    torch.testing.assert_close(edges_of(digits[3:4])[0], edges[3])
    stripes = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    stripes[..., 4::8] = 200
    strongest = [edges_of(image).view(8, 36).sum(1).argmax().item() for image in (stripes, stripes.transpose(2, 3))]
    assert strongest == [0, 4]
    assert not edges_of(torch.full((2, 1, 8, 8), 90, dtype=torch.uint8)).any()


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (20, 5), (3, 1)])
def test_images_that_do_not_differ_are_points_too(shape: tuple[int, int]) -> None:
    points = points_of(torch.ones(shape))
    assert points.shape == (shape[0], min(shape))
    assert not points.any()


@pytest.mark.parametrize("arch", ["lrnet", "lrnet-short", "resnet-small", "cnn"])
def test_features_are_what_the_convolutions_give_whatever_the_batch(arch: str) -> None:
    model = build(arch, in_channels=1, image_size=16, num_classes=3)
    network = Engine.at(Place(device="cpu", precision="fp32")).place(model).eval()
    images = torch.randint(0, 256, (70, 1, 16, 16), dtype=torch.uint8)
    together = predict_logits(WithFeatures(network), images)
    with torch.inference_mode():
        torch.testing.assert_close(together[:, :3], network(as_input(images)), atol=1e-4, rtol=1e-4)
        if isinstance(model, LRNet):
            features = model.features(as_input(images)).flatten(1)
            torch.testing.assert_close(together[:, 3:], features, atol=1e-4, rtol=1e-4)
    alone = predict_logits(WithFeatures(network), images[5:6])
    torch.testing.assert_close(alone[0], together[5], atol=1e-4, rtol=1e-4)
    assert together[:, 3:].std(0).max() > 0


def test_many_features_are_averaged_and_a_network_without_any_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 3))
    assert WithFeatures(network)(torch.rand(2, 1, 64, 64)).shape == (2, 3 + 2048)
    with pytest.raises(WeightsError, match="shows no features"):
        WithFeatures(nn.Flatten())


def test_a_tenth_is_random_and_the_choice_follows_the_seed(trained_run: Path) -> None:
    first, again, other = (select(trained_run, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.rows != other.rows
    assert (len(first.chosen), len(first.random), first.pool) == (27, 3, IMAGES)
    assert {row.split for row in first.chosen} == {"train"}
    assert {row.split for row in first.random} == {"val"}
    assert len({row.name for row in first.rows}) == 30
    # Nothing but the seed decides which these are, whatever the network thinks of the images.
    assert first.random == select(None, seed=0).random


@pytest.mark.parametrize("has_network", [False, True])
def test_the_selected_kinds_are_more_than_random_ones_would_be(trained_run: Path, has_network: bool) -> None:
    weights = trained_run if has_network else None
    chosen = [label_of(row.name) for seed in range(3) for row in select(weights, n=10, seed=seed).chosen]
    kinds = sum(len(set(chosen[start : start + 9])) for start in (0, 9, 18)) / 3
    assert kinds > 10 * (1 - 0.9**9)  # what nine random ones of ten equal classes have on average


def test_a_second_round_adds_to_the_first_and_asks_for_what_the_network_doubts(trained_run: Path) -> None:
    select(trained_run).write(Path("selected.csv"))
    answer(Path("selected.csv"), Path("answered.csv"))
    second = select(trained_run, answers=("answered.csv",), seed=1)
    assert second.by == "margin"
    assert (len(second.answered), second.pool, len(second.chosen), len(second.random)) == (30, IMAGES - 30, 27, 3)
    before = {row.name for row in second.answered}
    assert not before & {row.name for row in (*second.chosen, *second.random)}
    second.write(Path("second.csv"))
    answer(Path("second.csv"), Path("all.csv"))
    kept = list(csv.DictReader(Path("second.csv").read_text(encoding="utf-8").splitlines()))
    assert sum(row["reviewed"] == "yes" and row["label"] == label_of(row["file_name"]) for row in kept) == 30
    assert [row["split"] for row in kept].count("val") == 6
    messages = Messages()
    text = Path("answered.csv").read_text(encoding="utf-8").replace("/000.png,0,", "/000.png,zero,")
    text = text.replace(",7,yes", ",seven,yes")
    Path("named.csv").write_text(text, encoding="utf-8")
    request = SelectRequest(inputs=("scans",), n=30, weights=str(trained_run), answers=("named.csv",))
    assert select_images(request, messages).by == "central"
    assert any("does not know" in line and "seven" in line for line in messages.lines)


def test_training_uses_the_random_images_for_validation_only(trained_run: Path) -> None:
    select(trained_run, n=100).write(Path("selected.csv"))
    answer(Path("selected.csv"), Path("reviewed.csv"))
    messages = Messages()
    result = train(TrainConfig(dataset="reviewed.csv", image_size=8, epochs=1, seed=0, out=Path("run")), messages)
    _, card = load_weights(Path(result["weights"]))
    assert (card.dataset["val"], card.dataset["train"] + card.dataset["test"]) == (10, 90)
    assert card.protocol["validation"] == "the data set's own"
    assert any("10 validation images are never trained on" in line for line in messages.lines)


def test_the_command_writes_a_list_that_a_review_shows(lrnet: Callable[..., Any], trained_run: Path) -> None:
    Path("scans/broken.png").write_bytes(b"not an image")
    result = lrnet("select", "scans", "--n", "20", "--weights", trained_run, "--output", "picked.csv", "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (len(document["chosen"]), len(document["random"]), document["by"]) == (18, 2, "central")
    assert [Path(one["path"]).name for one in document["unread"]] == ["broken.png"]
    assert "broken.png" in result.stderr
    assert "18 that differ most, and 2 at random" in result.stderr
    assert "lrnet review picked.csv" in result.stderr
    again = lrnet("select", "scans", "--weights", trained_run, "--output", "picked.csv")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert "--output" in again.stderr
    assert lrnet("review", "picked.csv", "--output", "page.html").exit_code == 0
    assert '"count":20' in Path("page.html").read_text(encoding="utf-8")


def test_a_review_selects_and_keeps_what_is_for_validation(lrnet: Callable[..., Any], trained_run: Path) -> None:
    options = ("--select", "20", "--weights", trained_run)
    result = lrnet("review", "scans", *options, "--output", "first.csv")
    assert result.exit_code == 0
    assert "20 of 150 images without a label" in result.stderr
    rows = list(csv.DictReader(Path("first.csv").read_text(encoding="utf-8").splitlines()))
    assert sorted(row["split"] for row in rows) == ["train"] * 18 + ["val"] * 2
    answer(Path("first.csv"), Path("answered.csv"))
    more = (*options, "--answers", "answered.csv")
    assert lrnet("review", "scans", *more, "--output", "second.html").exit_code == 0
    page = Path("second.html").read_text(encoding="utf-8")
    assert page.count('"val"') == 4  # two to be answered, and two that were
    assert lrnet("review", "scans", *more, "--output", "second.csv").exit_code == 0
    rows = list(csv.DictReader(Path("second.csv").read_text(encoding="utf-8").splitlines()))
    assert (len(rows), sum(row["reviewed"] == "yes" for row in rows)) == (40, 20)


def test_what_cannot_be_selected_from_is_refused(lrnet: Callable[..., Any], trained_run: Path) -> None:
    assert lrnet("select", "scans", "--n", "9").exit_code == 2
    Path("empty").mkdir()
    assert lrnet("select", "empty").exit_code == 2
    listed = lrnet("review", "first.csv", "--select", "20")
    assert listed.exit_code == 2
    assert "--select" in listed.stderr
    assert lrnet("review", "scans", "--select", "20", "--audit").exit_code == 2
    few = select(trained_run, n=500)
    assert (len(few.chosen), len(few.random)) == (135, 15)
    few.write(Path("few.csv"))
    answer(Path("few.csv"), Path("done.csv"))
    done = lrnet("select", "scans", "--weights", trained_run, "--answers", "done.csv", "--output", "more.csv")
    assert done.exit_code == 1
    assert "No image is left" in done.stderr
