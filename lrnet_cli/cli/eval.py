"""``lrnet eval``."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import MofNCompleteColumn

from lrnet_cli.cli import output
from lrnet_cli.cli.options import Invert, Json, Weights
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_settings
from lrnet_cli.errors import UsageError

if TYPE_CHECKING:
    from lrnet_cli.evaluation.corruptions import Robustness
    from lrnet_cli.evaluation.evaluate import Evaluation
    from lrnet_cli.evaluation.exam import Exam
    from lrnet_cli.evaluation.paired import PairedComparison
    from lrnet_cli.models.engine import Engine

EXAMPLES = (
    "lrnet eval",
    "lrnet eval --weights runs/stamps --dataset stamps/ --report report.html",
    "lrnet eval --weights digits --dataset digits --corruptions --limit 1000",
)
_MISTAKES, _DISAGREEMENTS = 10, 10  # how many are printed


@with_settings("device", "precision", "mirror", "data_dir")
def eval_command(
    given: dict[str, Any],
    weights: Weights = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="A known data set or a path.", show_default="the known one that the weights were trained on"),
    ] = None,
    split: Annotated[Literal["test", "train", "val"], typer.Option(help="The split to evaluate on.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Use only this many pictures, always the same ones.")] = None,
    tta: Annotated[
        bool,
        typer.Option(
            "--tta", help="Average over views of each picture: shifted by a pixel, and mirrored if training did so."
        ),
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Compare with these weights, picture by picture (McNemar's test).")
    ] = None,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Measure the accuracy under 23 corruptions, each at 5 severities.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Plot the accuracies under --corruptions to this PNG file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report, one self-contained HTML file.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write every picture's prediction to this CSV file.")] = None,
    invert: Invert = "no",
    json: Json = False,
) -> None:
    """Evaluate weights on a data set: accuracy with its interval, calibration, classes, mistakes, robustness."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit takes a whole number from 1 up, got {limit}.")
    if plot is not None and not corruptions:
        raise UsageError("--plot shows the accuracies under --corruptions; give both.")
    from lrnet_cli.evaluation.exam import write_predictions
    from lrnet_cli.evaluation.paired import compare_paired
    from lrnet_cli.models.engine import Engine

    engine = Engine.choose(given.pop("device", "auto"), given.pop("precision", "auto"))
    exam, rival_exam = _load_exams(weights, against, engine, dataset, split, limit=limit, invert=invert, **given)
    evaluation = exam.evaluate(tta=tta)
    rival = rival_exam.evaluate(tta=tta) if rival_exam is not None else None
    comparison = compare_paired(evaluation, rival) if rival is not None else None
    if tta and corruptions:
        output.message("--tta averages views of uncorrupted pictures; under --corruptions there is one view of each.")
    robustness = _measure_robustness(exam) if corruptions else None
    if predictions is not None:
        write_predictions(predictions, evaluation)
    _write_pages(exam, evaluation, robustness, plot, report, _provenance(engine, split, limit, tta))
    out = Output(json)
    document = _document(exam, evaluation, engine, split, tta)
    if robustness is not None:
        document["corruptions"] = asdict(robustness)
    if comparison is not None and rival is not None and rival_exam is not None:
        accuracy = rival.metrics.accuracy
        document["against"] = {"weights": str(rival_exam.weights), "accuracy": accuracy, **asdict(comparison)}
    out.document(document)
    _show(out, evaluation, split)
    if robustness is not None:
        _show_robustness(out, robustness)
    if comparison is not None and rival_exam is not None:
        _show_comparison(out, comparison, str(exam.weights), str(rival_exam.weights))


def _load_exams(
    weights: str | None, against: str | None, engine: "Engine", dataset: str | None, split: Any, **settings: Any
) -> tuple["Exam", "Exam | None"]:
    from lrnet_cli.evaluation.exam import load_exam
    from lrnet_cli.weights.find import find_weights

    paths = [find_weights(weights)] + ([find_weights(against)] if against is not None else [])
    output.message(f"Weights: {paths[0]}. Device: {engine}.")
    bars = output.DownloadBars()
    with bars.display:
        exam, *rivals = (
            load_exam(
                path,
                dataset,
                split,
                engine=engine,
                on_progress=bars.update,
                on_message=output.message,
                **settings,
            )
            for path in paths
        )
    return exam, rivals[0] if rivals else None


def _measure_robustness(exam: "Exam") -> "Robustness":
    from lrnet_cli.evaluation.corruptions import measure_robustness

    bar = output.progress(MofNCompleteColumn())
    with bar:
        task = bar.add_task("corruptions")
        return measure_robustness(
            exam.network,
            exam.split,
            exam.recipe,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _provenance(engine: "Engine", split: str, limit: int | None, tta: bool) -> dict[str, str]:
    return {
        "command": shlex.join(["lrnet", *sys.argv[1:]]),
        "split": split + (f", {limit} pictures of it" if limit is not None else ""),
        "views": "averaged over several (--tta)" if tta else "one",
        "device": str(engine),
    }


def _write_pages(
    exam: "Exam",
    evaluation: "Evaluation",
    robustness: "Robustness | None",
    plot: Path | None,
    report: Path | None,
    provenance: dict[str, str],
) -> None:
    if plot is None and report is None:
        return
    from lrnet_cli.report.page import write_report, write_robustness_plot  # matplotlib takes a second

    if plot is not None and robustness is not None:
        write_robustness_plot(plot, {exam.weights.parent.name: (evaluation.metrics.accuracy, robustness)})
    if report is not None:
        write_report(report, exam, evaluation, robustness, provenance)
        output.message(f"Report: {report}")


def _document(exam: "Exam", evaluation: "Evaluation", engine: "Engine", split: str, tta: bool) -> dict[str, Any]:
    from lrnet_cli.devices import describe_device

    return {
        "schema": "lrnet.eval/1",
        "dataset": evaluation.dataset,
        "split": split,
        "weights": str(exam.weights),
        **asdict(evaluation.metrics),
        "ece_uncalibrated": evaluation.ece_uncalibrated,
        "temperature": exam.card.temperature,
        "tta": tta,
        "mistakes": [asdict(mistake) for mistake in evaluation.mistakes(_MISTAKES)],
        "images_per_second": evaluation.images_per_second,
        "device": describe_device(engine.device),
        "precision": engine.precision,
    }


def _show(out: Output, evaluation: "Evaluation", split: str) -> None:
    metrics = evaluation.metrics
    low, high = metrics.accuracy_ci95
    out.line(f"{evaluation.dataset}, {split} split, {metrics.n} pictures")
    out.line(f"  accuracy           {metrics.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})")
    for k, share in metrics.top_k_accuracy.items():
        out.line(f"  top-{k} accuracy     {share:.4f}")
    out.line(f"  log loss           {metrics.loss:.4f}")
    out.line(f"  calibration error  {metrics.ece:.4f} ({evaluation.ece_uncalibrated:.4f} before calibration)")
    out.line(f"  speed              {evaluation.images_per_second:.0f} images per second")
    out.table(
        ("class", "precision", "recall", "F1", "images"),
        ((c.name, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", c.support) for c in metrics.per_class),
    )
    out.table(
        ("true ↓  predicted →", *evaluation.classes),
        ((name, *row) for name, row in zip(evaluation.classes, metrics.confusion_matrix, strict=True)),
    )
    out.table(
        ("confidence", "pictures", "mean confidence", "accuracy"),
        (
            (f"{b.low:.3f} to {b.high:.3f}", b.count, f"{b.confidence:.4f}", f"{b.accuracy:.4f}")
            for b in metrics.reliability
        ),
        title="Reliability",
    )
    if mistakes := evaluation.mistakes(_MISTAKES):
        out.table(
            ("picture", "true", "predicted", "probability"),
            ((m.index, m.true, m.predicted, f"{m.probability:.4f}") for m in mistakes),
            title="Most confident mistakes",
        )


def _show_robustness(out: Output, robustness: "Robustness") -> None:
    for title, kinds in robustness.lists().items():
        means = {name: mean(case.accuracy for case in cases) for name, cases in kinds.items()}
        rows = [(name, *(f"{c.accuracy:.4f}" for c in cases), f"{means[name]:.4f}") for name, cases in kinds.items()]
        out.table(
            ("corruption", "severity 1", "2", "3", "4", "5", "mean"),
            [*rows, ("mean over these", "", "", "", "", "", f"{mean(means.values()):.4f}")],
            title=f"Accuracy under corruptions {title}",
        )
    out.line(
        f"Mean over the first twelve kinds {robustness.mean_accuracy:.4f}, over the others "
        f"{robustness.mean_accuracy_further:.4f}"
    )


def _show_comparison(out: Output, comparison: "PairedComparison", first: str, second: str) -> None:
    low, high = comparison.difference_ci95
    out.line(f"Against {second}, on the same pictures")
    out.line(f"  difference in accuracy  {comparison.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
    out.line(f"  McNemar's exact test    p = {comparison.p_value:.4g}")
    out.table(
        ("", "second right", "second wrong"),
        (
            ("first right", comparison.both_right, comparison.only_first),
            ("first wrong", comparison.only_second, comparison.both_wrong),
        ),
        title=f"First: {first}",
    )
    if shown := comparison.disagreements[:_DISAGREEMENTS]:
        out.table(
            ("picture", "true", "first", "second"),
            ((d.index, d.true, d.first, d.second) for d in shown),
            title=f"The first {len(shown)} of {len(comparison.disagreements)} disagreements (--json has all)",
        )
