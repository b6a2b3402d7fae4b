"""``lrnet info``."""

from dataclasses import asdict
from typing import Annotated, Any, Literal, get_args

import typer

from lrnet_cli import choices, paths
from lrnet_cli.cli import output
from lrnet_cli.cli.options import DataDir, Json
from lrnet_cli.data.catalog import CATALOG, EMBEDDED
from lrnet_cli.errors import UsageError


def info_command(
    arch: Annotated[
        Literal[choices.Arch, "all"] | None,
        typer.Option(help="Show the layers of this network instead, with their costs; all: what each network costs."),
    ] = None,
    image_size: Annotated[int, typer.Option(help="With --arch: the side of the pictures in pixels.")] = 28,
    channels: Annotated[int, typer.Option(help="With --arch: 1 (grey) or 3 (RGB).")] = 1,
    classes: Annotated[int, typer.Option(help="With --arch: how many.")] = 10,
    weights: Annotated[
        str | None, typer.Option(help="Show what a weight file says of itself instead: a file, run folder or name.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show versions, the device, folders, and the data sets and weights that are there; or a network, or weights."""
    if arch is not None and weights is not None:
        raise UsageError("--arch shows a network and --weights a weight file; choose one.")
    if arch == "all":
        _show_architectures(image_size, channels, classes, json)
    elif arch is not None:
        _show_layers(arch, image_size, channels, classes, json)
    elif weights is not None:
        _show_weights(weights, json)
    else:
        _show_installation(data_dir, json)


def _show_architectures(image_size: int, channels: int, classes: int, json: bool) -> None:
    from lrnet_cli.models.registry import summary_of

    costs = {arch: summary_of(arch, channels, image_size, classes) for arch in get_args(choices.Arch)}
    if json:
        listed = [
            {"arch": arch, "parameters": summary.parameters, "multiply_adds": summary.multiply_adds}
            for arch, summary in costs.items()
        ]
        output.print_json({"schema": "lrnet.info/1", "architectures": listed})
        return
    output.print_table(
        ("network", "parameters", "multiply-adds a picture"),
        ((arch, f"{summary.parameters:,}", f"{summary.multiply_adds:,}") for arch, summary in costs.items()),
        title=f"Pictures of {channels}×{image_size}×{image_size}, {classes} classes",
    )


def _show_layers(arch: str, image_size: int, channels: int, classes: int, json: bool) -> None:
    from lrnet_cli.models.registry import summary_of

    summary = summary_of(arch, channels, image_size, classes)
    if json:
        output.print_json({"schema": "lrnet.info/1", "arch": arch, **asdict(summary)})
        return
    output.print_table(
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
        title=f"{arch} for a picture of {channels}×{image_size}×{image_size}",
    )
    print(f"{summary.parameters:,} parameters, {summary.multiply_adds:,} multiply-adds a picture")


def _show_weights(name: str, json: bool) -> None:
    from lrnet_cli.weights import find_weights, load_weights

    path = find_weights(name)
    card = asdict(load_weights(path)[1])
    if json:
        output.print_json({"schema": "lrnet.info/1", "weights": str(path), **card})
        return
    _print_entries({"weights": str(path)} | card)


def _show_installation(data_dir: Any, json: bool) -> None:
    from lrnet_cli.data.download import check_files, overall_state
    from lrnet_cli.devices import describe_device, resolve_device
    from lrnet_cli.training.run import versions
    from lrnet_cli.weights import RELEASED

    cache, newest = paths.data_dir(data_dir), paths.newest_run()
    states = {name: overall_state(check_files(entry, cache)) for name, entry in CATALOG.items()}
    document = {
        "versions": versions(),
        "device": describe_device(resolve_device()),
        "data_dir": str(cache),
        "state_dir": str(paths.state_dir()),
        "datasets": {EMBEDDED: "embedded"} | states,
        "weights": str(newest) if newest else None,
        "released": list(RELEASED),
    }
    if json:
        output.print_json({"schema": "lrnet.info/1"} | document)
    else:
        _print_entries(document)


def _print_entries(document: dict[str, Any]) -> None:
    for key, value in document.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list | tuple):
            shown = ", ".join(map(str, value))
        else:
            shown = str(value) if value is not None else ""
        print(f"{key:<13} {output.printable(shown) or 'none'}")
