"""``lrnet eval``."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import MofNCompleteColumn

from lrnet_cli.cli import output
from lrnet_cli.cli.options import DataDir, Device, Invert, Json, Mirror, Precision, Weights
from lrnet_cli.errors import UsageError

if TYPE_CHECKING:
    from lrnet_cli.evaluation.corruptions import Robustness
    from lrnet_cli.evaluation.evaluate import Evaluation
    from lrnet_cli.evaluation.paired import PairedComparison

_MISTAKES, _DISAGREEMENTS = 10, 10  # that are printed


def eval_command(
    weights: Weights = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="A known data set or a path.", show_default="the known one that the weights were trained on"),
    ] = None,
    split: Annotated[Literal["test", "train", "val"], typer.Option(help="The split to evaluate on.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Use only so many pictures, always the same ones.")] = None,
    tta: Annotated[
        bool,
        typer.Option(
            "--tta", help="Average over views of each picture: moved by a pixel, and mirrored if it was trained so."
        ),
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Compare with these weights, picture by picture (McNemar's test).")
    ] = None,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Measure the accuracy under 12 corruptions, each at 5 severities.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the accuracies under --corruptions to this PNG file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page to look at, one self-contained HTML file.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write every picture's prediction to this CSV file.")] = None,
    invert: Invert = "no",
    device: Device = "auto",
    precision: Precision = "auto",
    mirror: Mirror = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Evaluate weights on a data set: accuracy with its interval, calibration, classes, mistakes, robustness."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit takes a whole number from 1 up, got {limit}.")
    if plot is not None and not corruptions:
        raise UsageError("--plot draws the accuracies under --corruptions; give both.")
    from lrnet_cli.devices import describe_device
    from lrnet_cli.engine import Engine
    from lrnet_cli.evaluation.corruptions import measure_robustness
    from lrnet_cli.evaluation.evaluate import load_exam, write_predictions
    from lrnet_cli.evaluation.paired import compare_paired
    from lrnet_cli.weights import find_weights

    engine = Engine.choose(device, precision)
    path, other = find_weights(weights), find_weights(against) if against is not None else None
    output.message(f"Weights: {path}. Device: {engine}.")
    bars = output.DownloadBars()
    with bars.display:
        exam, *rivals = (
            load_exam(
                chosen,
                dataset,
                split,
                engine=engine,
                limit=limit,
                invert=invert,
                data_dir=data_dir,
                mirror=mirror,
                on_progress=bars.update,
                on_message=output.message,
            )
            for chosen in (path, other)
            if chosen is not None
        )
    evaluation = exam.evaluate(tta=tta)
    rival = rivals[0].evaluate(tta=tta) if rivals else None
    comparison = compare_paired(evaluation, rival) if rival is not None else None
    robustness = None
    if corruptions:
        bar = output.progress(MofNCompleteColumn())
        with bar:
            task = bar.add_task("corruptions")
            robustness = measure_robustness(
                exam.network, exam.split, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
            )
    if predictions is not None:
        write_predictions(predictions, evaluation)
    if plot is not None or report is not None:
        from lrnet_cli.evaluation.report import write_report, write_robustness_plot  # matplotlib takes a second

        if plot is not None and robustness is not None:
            write_robustness_plot(plot, {path.parent.name: (evaluation.metrics.accuracy, robustness)})
        if report is not None:
            provenance = {
                "command": shlex.join(["lrnet", *sys.argv[1:]]),
                "split": split + (f", {limit} pictures of it" if limit is not None else ""),
                "views": "averaged over several (--tta)" if tta else "one",
                "device": str(engine),
            }
            write_report(report, exam, evaluation, robustness, provenance)
            output.message(f"Report: {report}")
    if not json:
        _print(evaluation, split)
        if robustness is not None:
            _print_robustness(robustness)
        if comparison is not None:
            _print_comparison(comparison, str(path), str(other))
        return
    document: dict[str, Any] = {
        "schema": "lrnet.eval/1",
        "dataset": evaluation.dataset,
        "split": split,
        "weights": str(path),
        **asdict(evaluation.metrics),
        "ece_uncalibrated": evaluation.ece_uncalibrated,
        "temperature": exam.card.temperature,
        "tta": tta,
        "mistakes": [asdict(mistake) for mistake in evaluation.mistakes(_MISTAKES)],
        "images_per_second": evaluation.images_per_second,
        "device": describe_device(engine.device),
        "precision": engine.precision,
    }
    if robustness is not None:
        document["corruptions"] = asdict(robustness)
    if comparison is not None and rival is not None:
        document["against"] = {"weights": str(other), "accuracy": rival.metrics.accuracy, **asdict(comparison)}
    output.print_json(document)


def _print(evaluation: "Evaluation", split: str) -> None:
    metrics = evaluation.metrics
    low, high = metrics.accuracy_ci95
    print(f"{evaluation.dataset}, {split} split, {metrics.n} pictures")
    print(f"  accuracy           {metrics.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})")
    for k, share in metrics.top_k_accuracy.items():
        print(f"  top-{k} accuracy     {share:.4f}")
    print(f"  log loss           {metrics.loss:.4f}")
    print(f"  calibration error  {metrics.ece:.4f} ({evaluation.ece_uncalibrated:.4f} before calibration)")
    print(f"  speed              {evaluation.images_per_second:.0f} images a second")
    output.print_table(
        ("class", "precision", "recall", "F1", "images"),
        ((c.name, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", c.support) for c in metrics.per_class),
    )
    output.print_table(
        ("true ↓  predicted →", *evaluation.classes),
        ((name, *row) for name, row in zip(evaluation.classes, metrics.confusion_matrix, strict=True)),
    )
    output.print_table(
        ("confidence", "pictures", "mean confidence", "accuracy"),
        (
            (f"{b.low:.3f} to {b.high:.3f}", b.count, f"{b.confidence:.4f}", f"{b.accuracy:.4f}")
            for b in metrics.reliability
        ),
        title="Reliability",
    )
    if mistakes := evaluation.mistakes(_MISTAKES):
        output.print_table(
            ("picture", "true", "predicted", "probability"),
            ((m.index, m.true, m.predicted, f"{m.probability:.4f}") for m in mistakes),
            title="Most confident mistakes",
        )


def _print_robustness(robustness: "Robustness") -> None:
    rows = [
        (kind, *(f"{case.accuracy:.4f}" for case in cases), f"{sum(case.accuracy for case in cases) / len(cases):.4f}")
        for kind, cases in robustness.by_kind().items()
    ]
    output.print_table(
        ("corruption", "severity 1", "2", "3", "4", "5", "mean"),
        [*rows, ("mean over all", "", "", "", "", "", f"{robustness.mean_accuracy:.4f}")],
        title="Accuracy under corruptions",
    )


def _print_comparison(comparison: "PairedComparison", first: str, second: str) -> None:
    low, high = comparison.difference_ci95
    print(f"Against {second}, on the same pictures")
    print(f"  difference of accuracy  {comparison.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
    print(f"  McNemar's exact test    p = {comparison.p_value:.4g}")
    output.print_table(
        ("", "second right", "second wrong"),
        (
            ("first right", comparison.both_right, comparison.only_first),
            ("first wrong", comparison.only_second, comparison.both_wrong),
        ),
        title=f"First: {first}",
    )
    if shown := comparison.disagreements[:_DISAGREEMENTS]:
        output.print_table(
            ("picture", "true", "first", "second"),
            ((d.index, d.true, d.first, d.second) for d in shown),
            title=f"The first {len(shown)} of {len(comparison.disagreements)} disagreements (--json has all)",
        )
