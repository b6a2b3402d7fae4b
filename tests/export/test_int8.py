import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lrnet_cli import Classifier
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.errors import ExportError, UsageError
from lrnet_cli.export import quantize
from lrnet_cli.export.held_out import held_out_of
from lrnet_cli.export.job import export_weights
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.novelty import novelty_given
from lrnet_cli.models.registry import build
from lrnet_cli.processes import ALONE
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Place
from lrnet_cli.settings.requests import ExportRequest
from lrnet_cli.training.inherit import with_absolute_paths
from lrnet_cli.training.prepare import prepare
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights
from lrnet_cli.weights.onnx import load_onnx

pytestmark = pytest.mark.slow  # exporting is a compiler's work


def export_int8(weights: Path, to: Path) -> None:
    export_weights(ExportRequest(weights=str(weights), to=to, int8=True), Reporter())


@pytest.fixture(scope="module")
def exported(trained_run: Path, tmp_path_factory: pytest.TempPathFactory, lrnet: Callable[..., Any]) -> Path:
    target = tmp_path_factory.mktemp("exported") / "int8.onnx"
    done = lrnet("export", "--weights", trained_run, "--to", target, "--int8", "--max-loss", "5", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["schema"], document["path"]) == ("lrnet.export/3", str(target))
    return target


def test_int8_is_judged_on_validation_images_that_did_not_calibrate(exported: Path, trained_run: Path) -> None:
    card = load_onnx(exported)[1]
    own = load_weights(trained_run / "model.safetensors")[1]
    note = card.protocol["int8"]
    assert card == replace(own, novelty=novelty_given(10), protocol=own.protocol | {"int8": note})
    assert note["evaluated_on"] == "optdigits: the validation images of its training"
    assert note["calibrated"] + note["images"] == own.dataset["val"]  # type: ignore[operator]  # numbers
    assert note["agreement"] >= 0.97  # type: ignore[operator]  # of some seventy images


def test_int8_computes_in_integers_and_gives_the_same_labels(exported: Path, trained_run: Path) -> None:
    import onnx

    kinds = Counter(tensor.data_type for tensor in onnx.load(exported).graph.initializer if len(tensor.dims) == 4)
    assert kinds == {onnx.TensorProto.INT8: 24, onnx.TensorProto.FLOAT: 3}  # all but the three that read the images
    assert exported.stat().st_size < (trained_run / "model.safetensors").stat().st_size / 2
    images = load_dataset("optdigits").test.images
    run, card = load_onnx(exported)
    own = Classifier.load(trained_run, precision="fp32")
    assert (run(images)[:, :10].argmax(1) == own.logits(images)[:, :10].argmax(1)).float().mean() >= 0.99
    assert run(images[:1]).shape == (1, 11)
    novelties = zip(Classifier.load(exported).predict(images), own.predict(images), strict=True)
    ratios = torch.tensor([one.novelty / other.novelty for one, other in novelties])
    assert float(ratios.median()) == pytest.approx(1, abs=0.05)
    assert card.is_int8
    assert not own.card.is_int8


def test_int8_predicts_and_evaluates_as_any_weights_do(
    exported: Path, trained_run: Path, tmp_path: Path, lrnet: Callable[..., Any]
) -> None:
    test = load_dataset("optdigits").test
    for number, image in enumerate(test.images[:30, 0].numpy()):
        Image.fromarray(image).resize((40, 40)).save(tmp_path / f"{number}.png")
    answers = {}
    for weights in (exported, trained_run):
        found = lrnet("predict", tmp_path, "--weights", weights, "--json")
        assert found.exit_code == 0, found.output
        answers[weights] = json.loads(found.stdout)["predictions"]
    assert [one["path"] for one in answers[exported]] == [one["path"] for one in answers[trained_run]]
    assert sum(a["label"] == b["label"] for a, b in zip(*answers.values(), strict=True)) >= 28
    judged = lrnet("eval", "--weights", exported, "--against", trained_run, "--json")
    assert judged.exit_code == 0, judged.output
    document = json.loads(judged.stdout)
    assert document["precision"] == "int8"
    assert document["n"] == len(test)
    assert abs(document["accuracy"] - document["against"]["accuracy"]) < 0.02
    assert "ONNX Runtime, cpu" in judged.stderr


def test_the_command_shows_what_int8_costs(trained_run: Path, tmp_path: Path, lrnet: Callable[..., Any]) -> None:
    shown = lrnet(
        *("export", "--weights", trained_run, "--to", tmp_path / "m.onnx"),
        *("--int8", "--max-loss", "5", "--dataset", "optdigits"),
    )
    assert shown.exit_code == 0, shown.output
    assert "the validation images of its training" in shown.stdout
    assert "calibration error" in shown.stdout


def test_a_larger_loss_than_allowed_is_refused(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = quantize.quantizable

    def spoilt(*given: object) -> nn.Module:
        network = made(*given)  # type: ignore[arg-type]
        for block in network.blocks:  # type: ignore[union-attr]
            block.convs["stage2_3x3"].weight.data.mul_(-1)  # type: ignore[union-attr, index]
        return network

    monkeypatch.setattr(quantize, "quantizable", spoilt)
    with pytest.raises(ExportError, match=r"points of accuracy are lost on \d+ images .*allowed: 0.1"):
        export_int8(trained_run, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_is_for_lrnet_and_onnx(trained_run: Path, tmp_path: Path, lrnet: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=r"m.pt2: int8 is written as an .onnx file"):
        export_int8(trained_run, tmp_path / "m.pt2")
    card = WeightsCard(
        arch="cnn",
        arch_args={"in_channels": 1, "image_size": 8, "num_classes": 2},
        classes=("a", "b"),
        head="softmax",
        preprocessing=Preprocessing(8, 1, "light-on-dark"),
        seed=0,
    )
    torch.manual_seed(0)
    save_weights(tmp_path / "cnn.safetensors", build("cnn", **card.arch_args), card)
    with pytest.raises(UsageError, match="is a cnn; only an LR-Net"):
        export_int8(tmp_path / "cnn.safetensors", tmp_path / "m.onnx")
    for option in (["--dataset", "optdigits"], ["--max-loss", "1"]):
        refused = lrnet("export", "--to", tmp_path / "m.onnx", *option)
        assert (refused.exit_code, "are for --int8" in refused.stderr) == (2, True)
    refused = lrnet("export", "--int8", "--weights", trained_run, "--to", tmp_path / "nowhere" / "m.onnx")
    assert (refused.exit_code, "Weights:" in refused.stderr) == (2, False)
    refused = lrnet("export", "--int8", "--to", tmp_path / "m.onnx", "--max-loss", "-1")
    assert (refused.exit_code, "from 0 to 100" in refused.stderr) == (2, True)


def test_int8_is_judged_on_the_images_that_training_set_aside(tmp_path: Path) -> None:
    # Of 1538 images 300 are to be set aside, a share that three digits do not give.
    images, labels = np.random.default_rng(0).integers(0, 256, (1548, 8, 8), np.uint8), np.arange(1548) % 10
    arrays = {"train_images": images[:1538], "train_labels": labels[:1538]}
    np.savez(tmp_path / "set.npz", **arrays, test_images=images[1538:], test_labels=labels[1538:])
    config = with_absolute_paths(TrainConfig(dataset=str(tmp_path / "set.npz"), seed=3, out=tmp_path / "run"))
    run = prepare(config, None, Engine.at(Place(device="cpu", precision="fp32")), ALONE, Reporter())
    dataset = load_dataset(config.dataset)
    unseen, which = held_out_of(dataset, run.card)
    assert which == "the validation images of its training"
    assert torch.equal(unseen.images, run.val_split.images)


def test_weights_that_say_the_share_in_words_only_are_still_understood(trained_run: Path) -> None:
    card, dataset = load_weights(trained_run / "model.safetensors")[1], load_dataset("optdigits")
    in_words = {name: value for name, value in card.protocol.items() if name != "val_cut"}
    assert len(in_words) < len(card.protocol)
    unseen, which = held_out_of(dataset, replace(card, protocol=in_words))  # type: ignore[arg-type]  # a part of it
    assert which == "the validation images of its training"
    assert torch.equal(unseen.images, held_out_of(dataset, card)[0].images)
