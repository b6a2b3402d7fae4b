"""ONNX files made by hand: whatever they declare, what they give is looked at before it is used."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from lrnet_cli.data import reader
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.errors import UsageError, WeightsError
from lrnet_cli.export.onnx import with_card
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.settings.place import Place
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.onnx import PixelNetwork, load_onnx
from lrnet_cli.weights.open import open_network

onnx = pytest.importorskip("onnx")
ARCH_ARGS = {"in_channels": 1, "image_size": 8, "num_classes": 10}
CARD = WeightsCard(
    arch="lrnet",
    arch_args=ARCH_ARGS,
    classes=tuple("0123456789"),
    head="softmax",
    preprocessing=Preprocessing(8, 1, "light-on-dark"),
    seed=0,
)


def written(path: Path, *last: Any, kind: int = onnx.TensorProto.FLOAT) -> Path:
    """Write a linear network to ``path`` whose logits pass through the nodes ``last``, from "raw" to "logits"."""
    make, proto = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    nodes = [
        make.make_node("Flatten", ["images"], ["flat"]),
        make.make_node("Cast", ["flat"], ["pixels"], to=proto.FLOAT),
        make.make_node("MatMul", ["pixels", "weights"], ["raw"]),
        make.make_node("Softmax", ["raw"], ["probabilities"]),
        *(last or [make.make_node("Identity", ["raw"], ["logits"])]),
    ]
    constants = {"weights": weights, "flat_shape": np.array([-1]), "sevens": np.array([7, -1])}
    graph = make.make_graph(
        nodes,
        "linear",
        [make.make_tensor_value_info("images", proto.UINT8, ["batch", 1, 8, 8])],
        [
            make.make_tensor_value_info("logits", kind, None),
            make.make_tensor_value_info("probabilities", proto.FLOAT, None),
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(with_card(model, CARD))
    return path


def node(kind: str, *inputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, list(inputs), ["logits"], **attributes)


@pytest.mark.parametrize(
    ("last", "kind", "reason"),
    [
        (node("Reshape", "raw", "flat_shape"), onnx.TensorProto.FLOAT, r"gives torch\.float32 of the shape \(20,\)"),
        (node("Concat", "raw", "raw", axis=0), onnx.TensorProto.FLOAT, r"of the shape \(4, 10\)"),
        (node("Cast", "raw", to=onnx.TensorProto.DOUBLE), onnx.TensorProto.DOUBLE, r"gives torch\.float64"),
        (node("Div", "raw", "raw"), onnx.TensorProto.FLOAT, "expected finite numbers"),  # of a blank image 0 / 0
        (node("Cast", "raw", to=onnx.TensorProto.STRING), onnx.TensorProto.STRING, "cannot be run"),
        (node("Reshape", "raw", "sevens"), onnx.TensorProto.FLOAT, "cannot be run"),
    ],
    ids=["one axis", "other rows", "double", "not a number", "text", "an error"],
)
def test_outputs_that_cannot_be_used_are_noticed_on_loading(tmp_path: Path, last: Any, kind: int, reason: str) -> None:
    with pytest.raises(WeightsError, match=rf"odd\.onnx: .*{reason}"):
        load_onnx(written(tmp_path / "odd.onnx", last, kind=kind))


@pytest.mark.skipif(sys.platform != "linux", reason="needs files with holes")
def test_a_file_too_large_for_the_format_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(WeightsError, match=r"huge\.onnx: is larger than 2147 MB"):
        load_onnx(path)


def test_an_error_while_it_runs_names_the_file(tmp_path: Path) -> None:
    run, card = load_onnx(written(tmp_path / "small.onnx"))
    assert card.classes == CARD.classes
    with pytest.raises(WeightsError, match=r"small\.onnx: cannot be run"):
        run(torch.zeros(3, 1, 9, 9, dtype=torch.uint8))


def test_more_batches_than_workers_are_evaluated(tmp_path: Path) -> None:
    run, _ = load_onnx(written(tmp_path / "m.onnx"))
    images = torch.zeros(3000, 1, 8, 8, dtype=torch.uint8)  # the workers of the network call workers for the file
    assert predict_logits(PixelNetwork(run).eval(), images).shape == (3000, 10)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine seem to have a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_an_onnx_file_is_opened_on_the_cpu_of_a_machine_with_a_gpu(tmp_path: Path, gpu: None) -> None:
    path = written(tmp_path / "m.onnx")
    for place in (Place(), Place(device="cpu"), Place(procs=2)):
        opened = open_network(path, place)
        assert (opened.device.type, opened.precision, opened.runs_on) == ("cpu", "fp32", "ONNX Runtime, cpu, fp32")
        assert opened.described is opened.network
    for place in (Place(device="cuda"), Place(gpus=1), Place(precision="bf16")):
        with pytest.raises(UsageError, match=r"m\.onnx: an ONNX file runs on the CPU, in fp32; leave out --device"):
            open_network(path, place)


def test_an_onnx_file_is_evaluated_on_the_cpu_of_a_machine_with_a_gpu(
    tmp_path: Path, lrnet: Callable[..., Any], gpu: None
) -> None:
    written(tmp_path / "m.onnx")
    words = ("eval", "--weights", tmp_path / "m.onnx", "--dataset", "optdigits", "--limit", "20")
    for device in ([], ["--device", "auto"]):
        result = lrnet(*words, *device)
        assert (result.exit_code, "Device: ONNX Runtime, cpu, fp32." in result.stderr) == (0, True), result.stderr
    refused = lrnet(*words, "--device", "cuda", "--precision", "fp32")
    assert (refused.exit_code, "runs on the CPU" in refused.stderr) == (2, True)


def endless() -> Any:
    """A loop of as many turns as a number of 64 bits can say, which hands on what comes before it."""
    make, proto = onnx.helper, onnx.TensorProto
    turn = make.make_graph(
        [make.make_node("Identity", ["goes_on"], ["goes_on_then"]), make.make_node("Identity", ["carried"], ["next"])],
        "turn",
        [
            make.make_tensor_value_info("number", proto.INT64, []),
            make.make_tensor_value_info("goes_on", proto.BOOL, []),
            make.make_tensor_value_info("carried", proto.FLOAT, None),
        ],
        [
            make.make_tensor_value_info("goes_on_then", proto.BOOL, []),
            make.make_tensor_value_info("next", proto.FLOAT, None),
        ],
    )
    turns = onnx.numpy_helper.from_array(np.array(2**62), "turns")
    return [
        make.make_node("Constant", [], ["turns"], value=turns),
        make.make_node("Loop", ["turns", "", "raw"], ["logits"], body=turn),
    ]


def huge() -> Any:
    """As many zeros as take several gigabytes, of which the largest is added."""
    make = onnx.helper
    size = onnx.numpy_helper.from_array(np.array([1_500_000_000]), "size")
    return [
        make.make_node("Constant", [], ["size"], value=size),
        make.make_node("ConstantOfShape", ["size"], ["zeros"]),
        make.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        make.make_node("Add", ["raw", "zero"], ["logits"]),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="has limits of memory and time")
@pytest.mark.parametrize(
    ("nodes", "problem"),
    [(endless, "takes more than 1 seconds of processor time"), (huge, "is not a usable|cannot be run|too much memory")],
)
def test_a_file_that_never_ends_or_fills_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: Callable[[], Any], problem: str
) -> None:
    monkeypatch.setattr(reader, "MOST_SECONDS", 1.0)
    path = written(tmp_path / "hostile.onnx", *nodes())
    before = psutil.Process().memory_info().rss
    with pytest.raises(WeightsError, match=rf"hostile\.onnx: .*({problem})"):
        load_onnx(path)
    assert psutil.Process().memory_info().rss - before < 200_000_000
