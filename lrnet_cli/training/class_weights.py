"""Weights of the classes in the loss, for classes of unequal sizes or importance."""

import csv
import math
from pathlib import Path

import torch
from torch import Tensor

from lrnet_cli import paths
from lrnet_cli.documents import loaded, read_document
from lrnet_cli.errors import SettingError, UsageError, suggestion

_WORDS = ("none", "balanced")


def located_class_weights(source: str) -> str:
    """Return ``none`` or ``balanced`` unchanged, and a file's path as it is from every working folder."""
    return source if source in _WORDS else str(paths.expanded(source).resolve())


def class_weights_of(source: str, classes: tuple[str, ...], labels: Tensor) -> Tensor | None:
    """Return the weight of each class (classes,), on the device of ``labels`` (N,), whose mean weight is 1.

    ``balanced`` weighs classes inversely to their numbers of images; another ``source`` than that and ``none`` is a
    ``.json`` object or a ``.csv`` of classes and their weights. Raises ``UsageError`` for a file that cannot be used.
    """
    if source == "none":
        return None
    counts = torch.bincount(labels.cpu(), minlength=len(classes)).double()
    if source == "balanced":
        weights = 1 / counts.clamp(min=1)
    else:
        named = _read(Path(source))
        if lacking := [name for name in classes if name not in named]:
            raise UsageError(f"{source}: has no weight for the classes {', '.join(lacking[:5])}; there are: {named}.")
        weights = torch.tensor([named[name] for name in classes], dtype=torch.float64)
    mean = float((weights * counts).sum() / counts.sum())
    if mean <= 0:
        raise UsageError(f"{source}: the classes with training images have no weight.")
    return (weights / mean).float().to(labels.device)


def _read(path: Path) -> dict[str, float]:
    try:
        text = read_document(path).removeprefix("\ufeff")
        if path.suffix.lower() == ".json":
            weights = {str(name): float(value) for name, value in loaded(text).items()}
        else:
            rows = [row for row in csv.reader(text.splitlines()) if row]
            if rows and len(rows[0]) == 2 and not _is_number(rows[0][1]):
                rows = rows[1:]  # a header
            weights = {name: float(value) for name, value in rows}
    except FileNotFoundError as error:
        raise SettingError(
            "{class_weights} takes none, balanced, or a .json or .csv file of classes and weights; there is no file "
            "{path}." + suggestion(path.name, _WORDS),
            path=path,
        ) from error
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise SettingError(
            "{class_weights} takes none, balanced, or a .json or .csv file of classes and weights; {path}: {error}.",
            path=path,
            error=error,
        ) from error
    if not all(math.isfinite(value) and value >= 0 for value in weights.values()):
        raise UsageError(f"{path}: weights are numbers from 0 up, got {weights}.")
    return weights


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
