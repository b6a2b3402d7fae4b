import json
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lrnet_cli import paths
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.errors import WeightsError
from lrnet_cli.models.registry import build
from lrnet_cli.settings.place import Place
from lrnet_cli.weights import file
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights
from lrnet_cli.weights.find import RELEASED, find_weights
from lrnet_cli.weights.open import open_network

CARD = WeightsCard(
    arch="lrnet",
    arch_args={"in_channels": 1, "image_size": 8, "num_classes": 3},
    classes=("a", "ß", "c/d"),
    head="softmax",
    preprocessing=Preprocessing(8, 1, "light-on-dark"),
    seed=7,
    metrics={"val_accuracy": 0.5},
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(tmp_path / "model.safetensors", build(CARD.arch, **CARD.arch_args), CARD)
    return tmp_path / "model.safetensors"


def metadata_of(path: Path) -> dict[str, str]:
    """Return the metadata as those of a file that another program wrote: without a digest."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        texts: dict[str, str] = json.loads(file.read(length))["__metadata__"]
    del texts["digest"]
    return texts


def rewritten(path: Path, metadata: dict[str, Any] | None = None, **tensors: torch.Tensor | None) -> Path:
    """Write the file anew with changed metadata or tensors (None takes one out)."""
    values = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    kept = {name: tensor for name, tensor in (load_file(path) | values).items() if tensor is not None}
    texts = metadata_of(path) | {key: json.dumps(value) for key, value in (metadata or {}).items()}
    save_file(kept, path, texts)
    return path


def test_network_and_card_come_back(saved: Path) -> None:
    model, card = load_weights(saved)
    assert card == CARD
    assert not model.training
    torch.manual_seed(0)
    images = torch.rand(2, 1, 8, 8)
    torch.manual_seed(0)
    assert (model(images) == build(CARD.arch, **CARD.arch_args).eval()(images)).all()


def test_the_file_follows_the_umask_and_holds_plain_float_parameters(saved: Path) -> None:
    assert not any("num_batches_tracked" in name for name in load_file(saved))
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        assert saved.stat().st_mode & 0o777 == 0o666 & ~mask


def test_half_precision_is_read_as_float32(saved: Path) -> None:
    save_file({name: tensor.half() for name, tensor in load_file(saved).items()}, saved, metadata_of(saved))
    model, _ = load_weights(saved)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def hostile_pickle(path: Path) -> Path:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {path.parent / 'executed'}",)

    path.write_bytes(pickle.dumps(Evil()))
    return path


def torch_pickle(path: Path) -> Path:
    torch.save({"a": torch.ones(3)}, path)
    return path


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def header_of_petabytes(path: Path) -> Path:
    path.write_bytes(struct.pack("<Q", 2**52) + b"{}")
    return path


def tensor_of_petabytes(path: Path) -> Path:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**50], "data_offsets": [0, 2**52]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def nested_deeply(path: Path) -> Path:
    save_file(load_file(path), path, metadata_of(path) | {"dataset": "[" * 100_000 + "]" * 100_000})
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (hostile_pickle, "not a readable safetensors file.*pickle files"),
        (torch_pickle, "not a readable safetensors file"),
        (truncated, "not a readable safetensors file"),
        (header_of_petabytes, "not a readable safetensors file"),
        (tensor_of_petabytes, "not a readable safetensors file"),
        (empty, "not a readable safetensors file"),
        (lambda path: rewritten(path, out__bias=None), r"lacks 1 tensors: out\.bias"),
        (lambda path: rewritten(path, extra=torch.ones(1)), "has unknown 1 tensors: extra"),
        (lambda path: rewritten(path, out__bias=torch.ones(4)), r"out\.bias has the shape \(4,\), the network needs"),
        (lambda path: rewritten(path, out__bias=torch.full((3,), torch.nan)), r"out\.bias holds NaN"),
        (
            lambda path: rewritten(path, out__bias=torch.full((3,), 1e300, dtype=torch.float64)),
            r"out\.bias holds .*too large for float32",
        ),
        (
            lambda path: rewritten(path, {"novelty": {"axes": [[1.0]] * 4, "centres": [[0.0]], "threshold": 1.0}}),
            "the novelty is over 4 outputs, the network gives 3",
        ),
        (lambda path: rewritten(path, out__bias=torch.ones(3, dtype=torch.int64)), "expected float16, bfloat16"),
        (lambda path: rewritten(path, block1__bn_3__running_var=-torch.ones(48)), "negative variances"),
        (lambda path: rewritten(path, {"classes": ["a", "b"]}), "do not fit preprocessing and class names"),
        (lambda path: rewritten(path, {"classes": ["a", "a", "b"]}), "not distinct"),
        (lambda path: rewritten(path, {"classes": ["a", {}, "b"]}), "cannot be used"),
        (lambda path: rewritten(path, {"classes": 3}), "cannot be used"),
        (lambda path: rewritten(path, {"arch": "vgg"}), "architecture 'vgg' is not one of: lrnet"),
        (lambda path: rewritten(path, {"head": "linear"}), "Invalid enum value 'linear'"),
        (lambda path: rewritten(path, {"preprocessing": {"image_size": 8}}), "cannot be used"),
        (lambda path: rewritten(path, {"arch_args": {"in_channels": 1.5}}), r"cannot be used: .*arch_args"),
        (lambda path: rewritten(path, {"dataset": 5}), r"cannot be used: .*dataset"),
        (lambda path: rewritten(path, {"protocol": {"ensemble": 5}}), r"cannot be used: .*ensemble"),
        (nested_deeply, "nested too deeply"),
        (lambda path: rewritten(path, out__bias=torch.ones(3).to(torch.float8_e4m3fn)), "expected float16, bfloat16"),
        (
            lambda path: rewritten(
                path,
                {
                    "arch_args": {"in_channels": 1, "image_size": 10**9, "num_classes": 3},
                    "preprocessing": {"image_size": 10**9, "channels": 1, "polarity": "mixed"},
                },
            ),
            r"fc1\.weight has the shape|cannot be used|too large",
        ),
    ],
)
def test_file_that_does_not_fit_is_refused_in_one_sentence(saved: Path, damage: Any, reason: str) -> None:
    with pytest.raises(WeightsError, match=rf"model\.safetensors: .*({reason})"):
        load_weights(damage(saved))
    assert not (saved.parent / "executed").exists()


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_bit_is_noticed(saved: Path, place: float) -> None:
    content = bytearray(saved.read_bytes())
    content[int(place * len(content))] ^= 1  # the lowest bit of a number, which changes it by a millionth
    saved.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged: its content is not what was written"):
        load_weights(saved)


def test_file_of_another_program_or_format_is_refused(saved: Path) -> None:
    save_file({"a": torch.ones(1)}, saved)
    with pytest.raises(WeightsError, match="format None, expected 'lrnet-weights/1'"):
        load_weights(saved)
    save_file({"a": torch.ones(1)}, saved, {"format": "lrnet-weights/2"})
    with pytest.raises(WeightsError, match="a version that this one does not know"):
        load_weights(saved)


def test_metadata_without_a_field_are_refused(saved: Path) -> None:
    metadata = metadata_of(saved)
    del metadata["classes"]
    save_file(load_file(saved), saved, metadata)
    with pytest.raises(WeightsError, match="missing required field `classes`"):
        load_weights(saved)


def test_what_is_exported_is_no_weight_file(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"PK")
    with pytest.raises(WeightsError, match="is an export for other runtimes; use the weights that it was made from"):
        load_weights(tmp_path / "model.pt2")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(WeightsError, match="pipe"):
        load_weights(tmp_path / "pipe.safetensors")


def test_a_file_that_does_not_fit_into_memory_is_one_sentence(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(file, "safe_open", full)
    with pytest.raises(WeightsError, match=r"model\.safetensors: does not fit into memory"):
        load_weights(saved)


def test_weights_do_not_stay_part_of_their_file(saved: Path) -> None:
    model, _ = load_weights(saved)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    size = saved.stat().st_size
    with saved.open("r+b") as file:
        file.write(bytes(size))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_file_is_flushed_through_a_handle_that_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    flushed: list[int] = []
    monkeypatch.setattr(paths.os, "fsync", lambda handle: flushed.append(fcntl.fcntl(handle, fcntl.F_GETFL)))
    paths.write_text(tmp_path / "text", "text")
    assert [mode & os.O_ACCMODE for mode in flushed] == [os.O_RDWR]  # Windows refuses any other


def test_a_failed_write_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    unwritable = replace(CARD, metrics={"bad": object()})
    with pytest.raises(TypeError):
        save_weights(saved, build(CARD.arch, **CARD.arch_args), unwritable)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_weights_are_found_by_name_file_run_folder_or_newest_run(saved: Path, tmp_path: Path) -> None:
    assert find_weights(None) == find_weights("digits") == RELEASED["digits"] / "model.safetensors"
    assert find_weights(str(saved)) == saved
    assert find_weights(str(saved.parent)) == saved
    paths.record_run(saved.parent)
    gone = tmp_path / "gone"
    paths.record_run(gone)
    assert find_weights(None) == saved
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors"):
        find_weights(str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match="no such weight file"):
        find_weights("nowhere")


def test_the_temperature_travels_and_files_without_one_have_one(saved: Path) -> None:
    model, card = load_weights(saved)
    save_weights(saved, model, replace(card, temperature=0.625))
    assert load_weights(saved)[1].temperature == 0.625
    texts = metadata_of(saved)
    del texts["temperature"]
    save_file(load_file(saved), saved, texts)
    assert load_weights(saved)[1].temperature == 1.0


@pytest.mark.parametrize("temperature", [0, 1e-320, 1e-40, -1.5, float("nan"), float("inf"), "1"])
def test_a_temperature_that_makes_no_sense_is_refused(saved: Path, temperature: Any) -> None:
    with pytest.raises(WeightsError, match="the metadata cannot be used: "):
        load_weights(rewritten(saved, {"temperature": temperature}))


def test_a_batch_that_does_not_fit_into_memory_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_network(saved, Place(device="cpu"))
    monkeypatch.setattr("lrnet_cli.memory.free_memory", lambda: 1000)
    with pytest.raises(WeightsError, match=r"a batch of images of \d+ pixels per side needs .* of memory"):
        open_network(saved, Place(device="cpu"))
