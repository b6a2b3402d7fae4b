"""Accuracy under corruptions of networks side by side, as the Markdown table and the plot of docs/.

``python tests/benchmarks/robustness.py 'with augmentation=runs/a' without=runs/b --limit 1000 --plot robustness.png``
``python tests/benchmarks/robustness.py --pictures corruptions.png digits fashion``
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.engine import Engine
from lrnet_cli.evaluation.corruptions import CORRUPTIONS, SEVERITIES, Robustness, corrupt, measure_robustness
from lrnet_cli.evaluation.evaluate import load_exam
from lrnet_cli.evaluation.report import write_robustness_plot
from lrnet_cli.weights import find_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="NAME=WEIGHTS")
    parser.add_argument("--pictures", type=Path, help="draw a picture of each data set named, and measure nothing")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.pictures is not None:
        draw(options.networks, options.pictures)
        return
    engine, found = Engine.choose(), dict[str, tuple[float, Robustness]]()
    for network in options.networks:
        name, weights = network.split("=", 1)
        exam = load_exam(find_weights(weights), None, "test", engine=engine, limit=options.limit)
        metrics = exam.evaluate().metrics
        found[name] = metrics.accuracy, measure_robustness(exam.network, exam.split)
    print(f"{exam.dataset}, {metrics.n} test pictures; each cell: {' / '.join(found)}\n")
    row("corruption", *SEVERITIES, "mean")
    row(*["---"] * (len(SEVERITIES) + 2))
    by_kind = [robustness.by_kind() for _, robustness in found.values()]
    for kind in CORRUPTIONS:
        cases = [kinds[kind.name] for kinds in by_kind]
        cells = [" / ".join(f"{case.accuracy:.3f}" for case in cell) for cell in zip(*cases, strict=True)]
        means = " / ".join(f"{sum(case.accuracy for case in several) / len(several):.3f}" for several in cases)
        row(kind.name.replace("_", " "), *cells, means)
    row("**none**", " / ".join(f"{clean:.3f}" for clean, _ in found.values()), *[""] * len(SEVERITIES))
    row("**mean**", *[""] * len(SEVERITIES), " / ".join(f"{r.mean_accuracy:.4f}" for _, r in found.values()))
    if options.plot is not None:
        write_robustness_plot(options.plot, found)


def draw(datasets: list[str], target: Path) -> None:
    figure = Figure(figsize=(2.2 * len(CORRUPTIONS) / 2, 1.02 * 6 * len(datasets)), layout="constrained")
    panels = figure.subplots(6 * len(datasets), len(CORRUPTIONS), squeeze=False)
    for block, name in enumerate(datasets):
        picture = load_dataset(name).test.images[:1]
        for column, kind in enumerate(CORRUPTIONS):
            shown = [picture, *(corrupt(picture, kind, severity, 0) for severity in SEVERITIES)]
            for severity, image in enumerate(shown):
                axes = panels[6 * block + severity, column]
                axes.imshow(image[0].permute(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                if column == 0:
                    axes.set_ylabel(severity or "as it is", fontsize=8)
                if severity == 0:
                    axes.set_title(kind.name.replace("_", " "), fontsize=8)
    figure.savefig(target, dpi=80)


def row(*cells: object) -> None:
    print("|", " | ".join(str(cell) for cell in cells), "|")


if __name__ == "__main__":
    main()
