"""``lrnet info``."""

from dataclasses import asdict
from pathlib import Path
from typing import get_args

from lrnet_cli import paths
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.data.catalog import CATALOG, EMBEDDED
from lrnet_cli.escape import in_words
from lrnet_cli.settings.requests import InfoRequest
from lrnet_cli.settings.words import Arch

EXAMPLES = ("lrnet info", "lrnet info --arch all", "lrnet info --weights digits")


@with_request(InfoRequest)
def info_command(request: InfoRequest, json: Json = False) -> None:
    """Show versions, device, folders, and the available data sets and weights; or details of a network or weights."""
    out = Output(json)
    sizes = (request.image_size or 28, request.channels or 1, request.classes or 10)
    if request.arch == "all":
        _show_architectures(*sizes, out)
    elif request.arch is not None:
        _show_layers(request.arch, *sizes, out)
    elif request.weights is not None:
        _show_weights(request.weights, out)
    else:
        _show_installation(request.data_dir, out)


def _show_architectures(image_size: int, channels: int, classes: int, out: Output) -> None:
    from lrnet_cli.models.registry import summary_of

    costs = {arch: summary_of(arch, channels, image_size, classes) for arch in get_args(Arch)}
    listed = [
        {"arch": arch, "parameters": summary.parameters, "multiply_adds": summary.multiply_adds}
        for arch, summary in costs.items()
    ]
    out.document({"schema": "lrnet.info/1", "architectures": listed})
    out.table(
        ("network", "parameters", "multiply-adds per image"),
        ((arch, f"{summary.parameters:,}", f"{summary.multiply_adds:,}") for arch, summary in costs.items()),
        title=f"Images of {channels}×{image_size}×{image_size}, {classes} classes",
    )


def _show_layers(arch: str, image_size: int, channels: int, classes: int, out: Output) -> None:
    from lrnet_cli.models.registry import summary_of

    summary = summary_of(arch, channels, image_size, classes)
    out.document({"schema": "lrnet.info/1", "arch": arch, **asdict(summary)})
    out.table(
        ("layer", "kind", "output", "parameters", "multiply-adds"),
        (
            (
                layer.name,
                layer.kind,
                "×".join(map(str, layer.output)),
                f"{layer.parameters:,}",
                f"{layer.multiply_adds:,}",
            )
            for layer in summary.layers
        ),
        title=f"{arch} for an image of {channels}×{image_size}×{image_size}",
    )
    out.line(f"{summary.parameters:,} parameters, {summary.multiply_adds:,} multiply-adds per image")


def _show_weights(name: str, out: Output) -> None:
    from lrnet_cli.weights.described import described, opened_card

    path, card = opened_card(name)
    # Rows of numbers that tell a reader nothing.
    novelty = None if card.novelty is None else {"threshold": card.novelty.threshold}
    evidence = None if card.evidence is None else {"images": len(card.evidence), "origin": card.evidence.origin}
    short = {"novelty": novelty, "evidence": evidence, "seen": len(card.seen)}
    out.document({"schema": "lrnet.info/1", "weights": str(path)} | asdict(card) | short)
    for key, text in described(card):
        out.line(f"{key:<13} {text}")
    out.line(f"From {path}; --json shows every field.")


def _show_installation(data_dir: Path | None, out: Output) -> None:
    from lrnet_cli.data.download import check_files, overall_state
    from lrnet_cli.devices import describe_device, resolve_device
    from lrnet_cli.runs.folder import versions
    from lrnet_cli.weights.find import RELEASED

    cache, newest = paths.data_dir(data_dir), paths.newest_run()
    states = {name: overall_state(check_files(entry, cache)) for name, entry in CATALOG.items()}
    document: dict[str, object] = {
        "versions": versions(),
        "device": describe_device(resolve_device()),
        "data_dir": str(cache),
        "state_dir": str(paths.state_dir()),
        "datasets": {EMBEDDED: "embedded"} | states,
        "weights": str(newest) if newest else None,
        "released": list(RELEASED),
    }
    out.document({"schema": "lrnet.info/1", **document})
    for key, value in document.items():
        out.line(f"{key:<13} {in_words(value)}")
