"""Writes ``results.md`` and its pictures from the files in ``results/``: ``python docs/make_results.py``.

``results/*.json`` are documents of ``lrnet compare --json`` and of ``tests/benchmarks/selected_on_test.py``;
``results/provenance.json`` tells for each the command, the machine and the day. No figure is typed here.
"""

import csv
import json
from pathlib import Path
from typing import Any, get_args

from lrnet_cli.choices import Arch
from lrnet_cli.evaluation.published import PUBLISHED_ACCURACY
from lrnet_cli.models.registry import summary_of
from lrnet_cli.paths import write_text
from lrnet_cli.report.plots import plot_curves, write_png
from lrnet_cli.training.compare import Accuracy, ComparedRuns, as_markdown, write_comparison_plot
from lrnet_cli.weights import RELEASED

DOCS = Path(__file__).parent
PLOTS = {"rivals": "results-rivals.png", "oracle": "results-oracle.png"}


def main() -> None:
    write_text(DOCS / "results.md", render())
    for name, picture in PLOTS.items():
        write_comparison_plot(DOCS / "images" / picture, rows_of(name))
    for name in RELEASED:
        write_png(plot_curves(epochs_of(name)), DOCS / "images" / f"results-curves-{name}.png")


def render() -> str:
    """Return the text of ``results.md``."""
    released, rivals, oracle = (rows_of(name) for name in ("released", "rivals", "oracle"))
    return f"""# Results

This page is written by `python docs/make_results.py` from the files in `docs/results/`; no figure on it is typed.
Intervals are 95 % intervals: Wilson's over the test images.

## LR-Net, beside the published figures

{as_markdown(released)}
{provenance("released")}

These are the networks that come with the package. They are trained as any user trains one, and `lrnet info --weights
digits` tells all about one. The model card of each, with its command, its figures by class, its calibration and its
robustness, is `README.md` in its folder below `lrnet_cli/released/`.

How the protocols differ:

| | published | here |
|---|---|---|
| the epoch to keep | the best on the **test** images | the best on images cut from the training images |
| training images | all 60,000 | 60,000 less those for validation |
| how often the test images are read | after every epoch | once, at the end |
| figure | one run, no interval | one run, with its interval |

For fairness, what runs of ours tell under the published protocol, with the epoch **chosen on the test images**. It is
no estimate of how a network does on new pictures, and no weights were kept by it. Of the released runs the single
epochs were not kept; the epoch that their validation images chose is one of those that the test images would choose
from, so it bounds that figure from below. The others were trained for this, with every epoch's weights kept:

{selected_table(released)}

{provenance("selected-on-test")}

## What more time would give

{curves()}

The learning rate falls to nothing at the end of a run, however long, so a longer run is another curve and not this one
gone on with. What these say of it is how much of the way was still uphill:

{quarters()}

## LR-Net and its rivals, at equal time

Each network trained on the same 6,000 images, for the same time, on the same machine; the test set is the whole one.
torchvision's networks start from fresh weights and see the pictures enlarged as far as they need it. They train with
AdamW, LR-Net with Muon ([why, and at which learning rates](explanation/recipe.md)). The time is short, which favours
networks that learn from few pictures: it tells what one gets in minutes on a CPU, not how far each would get in hours.
A run keeps back what it reckons that its last validation and test will need, and so may end before the time is up: the
last columns tell how many epochs each came to, and in how many minutes. The published figures are those of whole
trainings.

{as_markdown(rivals)}
{provenance("rivals")}

![Bars of test accuracy by network and data set, published figures as diamonds](images/results-rivals.png)

## Oracle-MNIST, within its test pictures

**What this is:** five-fold cross-validation within the 3,000 *test* pictures of Oracle-MNIST. Its 27,222 training
pictures could not be had where this was measured, so each network saw 2,400 pictures less those for validation, and was
tested on the other 600; over the five folds every picture is tested once. Each run had the time that the command below
names. The recipe, with or without augmentation, was chosen in each fold on its validation images, for every network
alike. **What it is not:** the published experiment. The figures stand beside each other, not beside the published
ones, which had eleven times the training pictures. No weights of these runs are released, because they have seen test
pictures.

{as_markdown(oracle)}
{provenance("oracle")}

![Bars of accuracy by network](images/results-oracle.png)

With a network connection the real run is `lrnet download oracle && lrnet train --dataset oracle`.

## What the networks cost

For a grey picture of 28×28 pixels and ten classes (`lrnet info --arch all`):

{costs()}

LR-Net has the fewest parameters, but not the fewest multiply-adds: it works at full resolution with kernels up to 7×7,
where the others shrink the picture at once.
"""


def rows_of(name: str) -> list[ComparedRuns]:
    """Return the rows of a document of ``lrnet compare --json``."""
    rows = json.loads((DOCS / "results" / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return [
        ComparedRuns(**row | {"accuracy": Accuracy(**row["accuracy"] | {"ci95": tuple(row["accuracy"]["ci95"])})})
        for row in rows
    ]


def provenance(name: str) -> str:
    source: dict[str, Any] = json.loads((DOCS / "results" / "provenance.json").read_text(encoding="utf-8"))[name]
    commands = "\n".join(source["commands"])
    notes = "".join(f" {note}" for note in source.get("notes", ()))
    return f"Measured on {source['machine']}, {source['date']}.{notes} With:\n\n```console\n{commands}\n```"


def selected_table(released: list[ComparedRuns]) -> str:
    lines = [
        "| data set | run | epochs | epoch chosen on validation images | epoch chosen on the test images | published |",
        "|---|---|---|---|---|---|",
    ]
    for row in released:
        figure = f"{row.accuracy.value:.4f}"
        lines.append(
            f"| {row.dataset} | released | {row.epochs:g} | {figure} | at least {figure} | {row.published:.4f} |"
        )
    for run in json.loads((DOCS / "results" / "selected-on-test.json").read_text(encoding="utf-8"))["runs"]:
        by_epoch = {entry["epoch"]: entry["test_accuracy"] for entry in run["epochs"]}
        luckiest = max(by_epoch, key=lambda epoch: by_epoch[epoch])
        published = PUBLISHED_ACCURACY[run["dataset"]]["lrnet"]
        lines.append(
            f"| {run['dataset']} | for this | {len(by_epoch)} "
            f"| {by_epoch[run['best_epoch']]:.4f} (epoch {run['best_epoch']}) "
            f"| {by_epoch[luckiest]:.4f} (epoch {luckiest}) | {published:.4f} |"
        )
    return "\n".join(lines)


def curves() -> str:
    return "\n\n".join(
        f"![Loss and accuracy by epoch on {name}](images/results-curves-{name}.png)\n*{name}, by epoch*"
        for name in RELEASED
    )


def quarters() -> str:
    lines = [
        "| data set | epochs | validation after ¼ | after ½ | after ¾ | after all | training accuracy at last |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in RELEASED:
        epochs = epochs_of(name)
        reached = (epochs[round(len(epochs) * part / 4) - 1]["val_accuracy"] for part in range(1, 5))
        shown = " | ".join(f"{accuracy:.4f}" for accuracy in (*reached, epochs[-1]["train_accuracy"]))
        lines.append(f"| {name} | {len(epochs)} | {shown} |")
    return "\n".join(lines)


def epochs_of(name: str) -> list[dict[str, float]]:
    """Return the rows of a released network's ``metrics.csv``."""
    with (RELEASED[name] / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def costs() -> str:
    lines = ["| network | parameters | multiply-adds |", "|---|---|---|"]
    for arch in get_args(Arch):
        summary = summary_of(arch, 1, 28, 10)
        lines.append(f"| {arch} | {summary.parameters:,} | {summary.multiply_adds:,} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
