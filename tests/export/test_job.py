import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli import Classifier
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.errors import ExportError, UsageError, WeightsError
from lrnet_cli.export import float32
from lrnet_cli.export.float32 import TOLERANCE, Float32Export
from lrnet_cli.export.job import export_weights
from lrnet_cli.models.fused import FusedLRNet
from lrnet_cli.models.novelty import novelty_given
from lrnet_cli.models.registry import build
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import ExportRequest
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights
from lrnet_cli.weights.onnx import load_onnx

pytestmark = pytest.mark.slow  # exporting is a compiler's work


def export(weights: Path, to: Path) -> Float32Export:
    exported = export_weights(ExportRequest(weights=str(weights), to=to), Reporter())
    assert isinstance(exported, Float32Export)
    return exported


@pytest.fixture(scope="module")
def exported(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exported") / "model.onnx"
    assert 0 < export(trained_run, target).difference <= TOLERANCE
    return target


def test_an_onnx_file_gives_the_same_predictions(exported: Path, trained_run: Path, tmp_path: Path) -> None:
    for number, image in enumerate(load_dataset("optdigits").test.images[:20, 0].numpy()):
        Image.fromarray(image).resize((60, 60)).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    ours = Classifier.load(trained_run, precision="fp32").predict(files)
    theirs = Classifier.load(exported).predict(files)
    assert [p.label for p in ours] == [p.label for p in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert dict(one.top) == pytest.approx(dict(other.top), abs=TOLERANCE)
        assert one.inverted == other.inverted
        assert one.novelty == pytest.approx(other.novelty, rel=1e-3)


def test_an_onnx_file_takes_any_number_of_images_and_holds_the_card(exported: Path, trained_run: Path) -> None:
    logits, card = load_onnx(exported)
    own = load_weights(trained_run / "model.safetensors")[1]
    assert own.needs_description
    assert card == replace(own, novelty=novelty_given(10))
    images = load_dataset("optdigits").test.images
    for count in (1, 2, 300):
        assert logits(images[:count]).shape == (count, 11)  # with the novelty


def test_an_onnx_file_is_evaluated_and_shown_as_any_weights_are(exported: Path, trained_run: Path, lrnet: Any) -> None:
    found = json.loads(lrnet("eval", "--weights", exported, "--precision", "bf16", "--json").stdout)
    own = json.loads(lrnet("eval", "--weights", trained_run, "--precision", "fp32", "--json").stdout)
    assert (found["accuracy"], found["precision"]) == (own["accuracy"], "fp32")
    assert json.loads(lrnet("info", "--weights", exported, "--json").stdout)["arch"] == "lrnet-short"


def test_an_onnx_file_can_be_used_without_lrnet(exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported)
    test = load_dataset("optdigits").test
    _, probabilities, novelty = session.run(None, {"images": test.images.numpy()})
    assert (novelty <= 1).mean() > 0.9
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == test.labels.numpy()).mean() > 0.9
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    assert json.loads(metadata["preprocessing"])["image_size"] == 8


def test_an_exported_program_runs_for_any_number_of_images(trained_run: Path, tmp_path: Path, lrnet: Any) -> None:
    target = tmp_path / "model.pt2"
    document = json.loads(lrnet("export", "--weights", trained_run, "--to", target, "--json").stdout)
    assert (document["schema"], document["images"]) == ("lrnet.export/3", 359)
    assert 0 <= document["largest_difference"] <= TOLERANCE
    extra = {"classes": "", "temperature": ""}
    program = torch.export.load(target, extra_files=extra).module()
    assert float(extra["temperature"]) == load_weights(trained_run / "model.safetensors")[1].temperature
    for count in (1, 7):
        logits, probabilities, novelty = program(load_dataset("optdigits").test.images[:count])
        assert logits.shape == probabilities.shape == (count, 10)
        assert novelty.shape == (count,)


@pytest.mark.parametrize(("normalize", "suffix"), [("none", ".onnx"), ("ground", ".onnx"), ("ground", ".pt2")])
def test_colour_networks_of_other_sizes_and_heads_are_exported(tmp_path: Path, normalize: Any, suffix: str) -> None:
    arch_args = {"in_channels": 3, "image_size": 20, "num_classes": 4}
    preprocessing = Preprocessing(20, 3, "mixed", normalize)
    card = WeightsCard("lrnet", arch_args, tuple("abcd"), "sigmoid", preprocessing, 0, temperature=1.7)
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", build("lrnet", **arch_args).eval(), card)
    assert export(tmp_path / "w.safetensors", tmp_path / f"m{suffix}").difference <= TOLERANCE


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_an_export_that_differs_is_refused_and_leaves_nothing(
    suffix: str, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(FusedLRNet):
        def classify(self, features: torch.Tensor) -> torch.Tensor:
            return super().classify(features) + 2 * TOLERANCE

    monkeypatch.setattr(float32, "FusedLRNet", Off)
    with pytest.raises(ExportError, match=r"differs from PyTorch's by \d\.\de-0\d on 359 real images"):
        export(trained_run / "model.safetensors", tmp_path / f"m{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_exported_network_is_refused(exported: Path, tmp_path: Path) -> None:
    import onnx

    (tmp_path / "text.onnx").write_text("weights")
    with pytest.raises(WeightsError, match=r"text\.onnx: is not a usable ONNX file"):
        load_onnx(tmp_path / "text.onnx")
    with pytest.raises(WeightsError, match=r"nowhere\.onnx: No such file"):
        load_onnx(tmp_path / "nowhere.onnx")
    with pytest.raises(WeightsError, match="is a folder, pipe or device, not a file"):
        load_onnx(tmp_path)
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(WeightsError, match=r"bare\.onnx: was not written by lrnet"):
        load_onnx(tmp_path / "bare.onnx")


def test_other_suffixes_places_and_devices_are_refused(trained_run: Path, exported: Path, tmp_path: Path) -> None:
    weights = trained_run / "model.safetensors"
    with pytest.raises(UsageError, match=r"one of: \.onnx, \.pt2"):
        export(weights, tmp_path / "model.pth")
    with pytest.raises(UsageError, match="cannot be written"):
        export(weights, tmp_path / "nowhere" / "model.pt2")
    for settings in ({"device": "cuda"}, {"precision": "bf16"}):
        with pytest.raises(UsageError, match="an ONNX file runs on the CPU, in fp32"):
            Classifier.load(exported, **settings)


def test_without_onnx_the_way_to_it_is_told(
    trained_run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'lrnet-cli\[export\]'"):
        load_onnx(exported)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Give the weights of the network that takes least time to export, with the temperature 1."""
    arch_args = {"in_channels": 1, "image_size": 8, "num_classes": 3}
    torch.manual_seed(0)
    card = WeightsCard("cnn", arch_args, tuple("abc"), "softmax", Preprocessing(8, 1, "mixed"), 0, temperature=1.0)
    save_weights(tmp_path / "w.safetensors", build("cnn", **arch_args).eval(), card)
    return tmp_path / "w.safetensors"


def test_the_command_tells_what_it_wrote(lrnet: Callable[..., Any], small: Path, tmp_path: Path) -> None:
    assert lrnet("export", "--weights", small, "--to", tmp_path / "m.pt2").stdout.startswith("Wrote ")
    assert (tmp_path / "m.pt2").exists()
    refused = lrnet("export", "--weights", small, "--to", tmp_path / "m.bin")
    assert refused.exit_code == 2


def test_temperature_one_is_no_special_case(small: Path, tmp_path: Path) -> None:
    export(small, tmp_path / "m.onnx")
    assert load_onnx(tmp_path / "m.onnx")[1].temperature == 1.0
