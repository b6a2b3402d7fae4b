"""Accuracy under corruptions of networks side by side, as the Markdown table and the plot of docs/.

``python tests/benchmarks/robustness.py 'with augmentation=runs/a' without=runs/b --limit 1000 --plot robustness.png``
``python tests/benchmarks/robustness.py runs/a runs/b --limit 300 --json`` (the means alone)
``python tests/benchmarks/robustness.py --images corruptions.png digits fashion``
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.evaluation.corruptions import CORRUPTIONS, SEVERITIES, Robustness, corrupt, measure_robustness
from lrnet_cli.evaluation.setup import EvaluationSetup, load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.report.page import write_robustness_plot
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.find import find_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="[NAME=]WEIGHTS")
    parser.add_argument("--dataset", help="default: the one they were trained on")
    parser.add_argument("--images", type=Path, help="draw an image of each data set named, and measure nothing")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true", help="print the means as JSON lines, each as it is measured")
    options = parser.parse_args()
    if options.images is not None:
        draw(options.networks, options.images)
        return
    request = EvalRequest(dataset=options.dataset, limit=options.limit)
    engine, found = Engine.at(), dict[str, tuple[float, Robustness]]()
    for network in options.networks:
        name, weights = network.split("=", 1) if "=" in network else (Path(network).name, network)
        setup = load_setup(find_weights(weights), request, engine)
        clean = setup.evaluate().metrics.accuracy
        found[name] = clean, measure_robustness(setup.opened.network, setup.split, setup.card)
        if options.json:
            print(json.dumps(means_of(name, setup, *found[name])), flush=True)
    if options.json:
        return
    print(f"{setup.dataset}, {len(setup.split)} test images; each cell: {' / '.join(found)}\n")
    row("corruption", *SEVERITIES, "mean")
    row(*["---"] * (len(SEVERITIES) + 2))
    by_type = [robustness.by_type() for _, robustness in found.values()]
    for corruption in CORRUPTIONS:
        cases = [types[corruption.name] for types in by_type]
        cells = [" / ".join(f"{case.accuracy:.3f}" for case in cell) for cell in zip(*cases, strict=True)]
        means = " / ".join(f"{sum(case.accuracy for case in several) / len(several):.3f}" for several in cases)
        row(corruption.name.replace("_", " "), *cells, means)
    row("**none**", " / ".join(f"{clean:.3f}" for clean, _ in found.values()), *[""] * len(SEVERITIES))
    for name, means in (
        ("mean over the first twelve", [r.mean_accuracy for _, r in found.values()]),
        ("mean over the others", [r.mean_accuracy_further for _, r in found.values()]),
    ):
        row(f"**{name}**", *[""] * len(SEVERITIES), " / ".join(f"{value:.4f}" for value in means))
    if options.plot is not None:
        write_robustness_plot(options.plot, found)


def means_of(name: str, setup: EvaluationSetup, clean: float, robustness: Robustness) -> dict[str, object]:
    return {
        "name": name,
        "dataset": setup.dataset,
        "images": len(setup.split),
        "accuracy": clean,
        "first_twelve": robustness.mean_accuracy,
        "others": robustness.mean_accuracy_further,
    }


def draw(datasets: list[str], target: Path) -> None:
    figure = Figure(figsize=(2.2 * len(CORRUPTIONS) / 2, 1.02 * 6 * len(datasets)), layout="constrained")
    panels = figure.subplots(6 * len(datasets), len(CORRUPTIONS), squeeze=False)
    for block, name in enumerate(datasets):
        clean = load_dataset(name).test.images[:1]
        for column, corruption in enumerate(CORRUPTIONS):
            shown = [clean, *(corrupt(clean, corruption, severity, 0) for severity in SEVERITIES)]
            for severity, image in enumerate(shown):
                axes = panels[6 * block + severity, column]
                axes.imshow(image[0].permute(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                if column == 0:
                    axes.set_ylabel(severity or "as it is", fontsize=8)
                if severity == 0:
                    axes.set_title(corruption.name.replace("_", " "), fontsize=8)
    figure.savefig(target, dpi=80)


def row(*cells: object) -> None:
    print("|", " | ".join(str(cell) for cell in cells), "|")


if __name__ == "__main__":
    main()
