"""What weights are, in a few lines for people."""

from collections.abc import Iterator
from pathlib import Path

from lrnet_cli.escape import in_words
from lrnet_cli.settings.place import Place
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.find import find_weights
from lrnet_cli.weights.open import open_network

_SPLITS = {"train": "training images", "val": "for validation", "test": "for test"}


def opened_card(name: str) -> tuple[Path, WeightsCard]:
    """Return where the weights ``name`` are, and their card; raises ``WeightsError`` if they cannot be used."""
    path = find_weights(name)
    return path, open_network(path, Place(device="cpu")).card


def described(card: WeightsCard) -> Iterator[tuple[str, str]]:
    """Yield what a person needs to know of weights, each with its name; a stranger's file may leave anything out."""
    reads, data = card.preprocessing, card.dataset
    members = len(card.protocol.get("ensemble", ()))
    form = f", the mean of {members} networks" if members else ", in 8-bit integers" if card.is_int8 else ""
    yield "network", f"{card.arch}{form}, {len(card.classes)} classes: {', '.join(card.classes)}"
    yield (
        "images",
        f"{reads.image_size}×{reads.image_size} pixels, {'grey' if reads.channels == 1 else 'colour'}, "
        f"{reads.polarity}, {'cropped to their content' if reads.crop == 'content' else 'not cropped'}, "
        f"{'not normalised' if reads.normalize == 'none' else f'normalised by {reads.normalize}'}",
    )
    counts = (f"{data[key]:,} {name}" for key, name in _SPLITS.items() if key in data)  # type: ignore[literal-required]
    yield "trained on", ", ".join([data.get("name", "unknown images"), *counts])
    for key, name in (("val_accuracy", "validation"), ("test_accuracy", "test")):
        if isinstance(accuracy := card.metrics.get(key), float):
            yield name, f"accuracy {accuracy:.4f}{_interval_of(card.metrics.get(f'{key}_ci95'))}"
    yield "unknown", "never" if card.novelty is None else "images less familiar than 99% of its validation images"
    yield "promises", "no error" if card.evidence is None else f"an error, from {len(card.evidence):,} labelled images"
    if "command" in card.protocol:
        yield "command", card.protocol["command"]
    yield "versions", in_words(card.versions)


def _interval_of(bounds: object) -> str:
    match bounds:
        case [float(low), float(high)]:
            return f" (95% interval {low:.4f} to {high:.4f})"
    return ""
