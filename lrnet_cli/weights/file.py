"""The weight file: safetensors with plain, unfused parameters and everything needed to use and evaluate them."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from lrnet_cli import paths
from lrnet_cli.data.reading import listed
from lrnet_cli.documents import open_regular, parsed, read_document
from lrnet_cli.errors import UsageError, WeightsError
from lrnet_cli.models.ensemble import Ensemble
from lrnet_cli.models.novelty import novelty_given
from lrnet_cli.models.registry import build
from lrnet_cli.promise.stored import read_evidence
from lrnet_cli.settings.words import LRNETS
from lrnet_cli.weights.card import WeightsCard, card_of, metadata_of
from lrnet_cli.weights.digest import check_digest, sealed
from lrnet_cli.weights.find import is_series, members_of

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COUNTER = "num_batches_tracked"  # PyTorch's, not needed once the statistics are recomputed; not stored


_Kind = TypeVar("_Kind")


class _SeriesNote(TypedDict):
    folds: int | None


class _SeriesResult(TypedDict, total=False):
    test_accuracy: dict[str, Any] | None


def save_weights(path: Path, model: nn.Module, card: WeightsCard) -> None:
    """Write the parameters and statistics of ``model`` to ``path`` in one step."""
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.endswith(_COUNTER)
    }
    metadata = metadata_of(card)
    with paths.replacing(path) as temporary:
        # save_file would make a file that only its owner can read, regardless of the umask.
        temporary.write_bytes(sealed(tensors, metadata))


def load_weights(path: Path) -> tuple[nn.Module, WeightsCard]:
    """Return the network of a weight file, in evaluation mode and float32 on the CPU, and the card in the file.

    Of a folder of several runs they are one network, the mean of all, and a card that says so. Raises ``WeightsError``
    naming the file and what does not fit. Nothing in the file is executed, and no memory is
    taken for sizes that the tensors in the file do not have.
    """
    if is_series(path):
        return _load_ensemble(path)
    try:
        open_regular(path).close()  # a pipe would hang
        if path.suffix in (".pt2", ".onnx"):
            raise WeightsError(f"{path}: is an export for other runtimes; use the weights that it was made from.")
        with safe_open(path, framework="pt") as file:
            card = card_of(path, file.metadata())
            classes = len(card.classes)
            if card.novelty is not None and len(card.novelty.axes) == classes + 1:  # as of an ensemble or an export
                raise ValueError(f"the novelty is over {classes + 1} outputs, the network gives {classes}")
            with torch.device("meta"):
                model = build(card.arch, **card.arch_args)
            expected = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_COUNTER)}
            _check_names(path, set(expected), set(file.keys()))
            tensors = {name: file.get_tensor(name) for name in expected}
            check_digest(tensors, file.metadata())
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: is not a readable safetensors file ({error}). Give a model.safetensors that lrnet train wrote; "
            "pickle files (.pt, .pth) are never opened, since they can run code."
        ) from error
    except UsageError as error:
        raise WeightsError(f"{path}: {error}") from error
    except ValueError as error:
        raise WeightsError(f"{path}: is damaged: {error}.") from error
    except MemoryError as error:
        raise WeightsError(f"{path}: does not fit into memory.") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}.") from error
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}, the network needs {tuple(expected[name].shape)}."
            )
        if tensor.dtype not in _DTYPES:
            raise WeightsError(f"{path}: {name} holds {tensor.dtype}, expected float16, bfloat16, float32 or float64.")
        # Copied, or they would stay parts of the mapped file, which Windows does not replace while they live.
        tensors[name] = tensor.to(torch.float32, copy=True)
        # By NumPy: for so little, threads would wait for each other longer than they work.
        if not np.isfinite(tensors[name].numpy()).all():
            raise WeightsError(f"{path}: {name} holds NaN, infinite values or numbers too large for float32.")
        if name.endswith("running_var") and (tensor < 0).any():
            raise WeightsError(f"{path}: {name} holds negative variances.")
    counters = {name: torch.zeros((), dtype=torch.long) for name in model.state_dict() if name.endswith(_COUNTER)}
    model.load_state_dict(tensors | counters, assign=True)
    return model.eval(), card


def _load_ensemble(series: Path) -> tuple[nn.Module, WeightsCard]:
    files = members_of(series)
    if not files:
        raise WeightsError(f"{series}: none of its runs has weights yet.")
    members, cards = zip(*(load_weights(file) for file in files), strict=True)
    first = cards[0]
    for file, card in zip(files, cards, strict=True):
        if (card.classes, card.head, card.preprocessing) != (first.classes, first.head, first.preprocessing):
            raise WeightsError(f"{file}: its classes, head or preprocessing differ from those of {files[0]}.")
    note = _read(series / paths.SERIES_NAME, _SeriesNote, "name one of the runs in that folder")
    done, single = series / "result.json", None
    if done.exists():  # it does not while a run is still to be trained
        advice = "delete it to use the runs as if there were none"
        single = _read(done, _SeriesResult, advice).get("test_accuracy")
    try:
        evidence = read_evidence(series)
    except ValueError as error:
        raise WeightsError(f"{series}: its promise.json is damaged ({error}); delete it or train again.") from error
    protocol = {name: value for name, value in first.protocol.items() if name != "test_fold"}
    # Earlier versions had a novelty of LR-Net by its logits alone.
    novelties = [card.novelty for card in cards if card.needs_description or card.arch not in LRNETS]
    known = [novelty for novelty in novelties if novelty is not None]
    are_all = len(known) == len(cards)
    card = replace(
        first,
        temperature=evidence.temperature if evidence is not None else 1.0,
        novelty=novelty_given(len(first.classes)) if are_all else None,
        evidence=evidence,
        protocol=protocol | {"ensemble": [file.parent.name for file in files], "folds": note["folds"]},
        metrics={"over_single_runs": single} if single else {},
    )
    temperatures = [card.temperature for card in cards]
    return Ensemble(members, temperatures, first.head, known if are_all else ()).eval(), card


def _read(path: Path, kind: type[_Kind], advice: str) -> _Kind:
    try:
        return parsed(read_document(path), kind)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: is damaged ({error}); {advice}.") from error


def _check_names(path: Path, expected: set[str], stored: set[str]) -> None:
    for problem, names in (("lacks", expected - stored), ("has unknown", stored - expected)):
        if names:
            raise WeightsError(f"{path}: {problem} {len(names)} tensors: {listed(sorted(names))}.")
