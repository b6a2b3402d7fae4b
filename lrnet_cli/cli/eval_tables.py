"""What ``lrnet eval`` prints."""

from collections.abc import Iterable
from itertools import chain

from lrnet_cli.cli.output import Output
from lrnet_cli.evaluation.corruptions import CorruptedAccuracy, Robustness, means_over
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.foreign import ForeignImages
from lrnet_cli.evaluation.report import MISTAKES, Against, Report

_DISAGREEMENTS = 10  # how many are printed
_CLASSES = 20  # up to which all are printed; of more, only the worst


def show_report(out: Output, report: Report) -> None:
    """Print the figures of an evaluation, those of foreign and of corrupted images and of other weights last."""
    evaluation = report.evaluation
    metrics = evaluation.metrics
    out.line(f"{evaluation.dataset}, {report.request.split} split, {metrics.n} images")
    for figure in report.figures():
        out.line(f"  {figure.name:17}  {figure.value:.4f}{f' ({figure.remark})' if figure.remark else ''}")
    out.line(f"  speed              {evaluation.images_per_second:.0f} images per second")
    _show_classes(out, evaluation)
    out.table(
        ("confidence", "images", "mean confidence", "accuracy"),
        (
            (f"{b.low:.3f} to {b.high:.3f}", b.count, f"{b.confidence:.4f}", f"{b.accuracy:.4f}")
            for b in metrics.reliability
        ),
        title="Reliability",
    )
    if mistakes := evaluation.mistakes(MISTAKES):
        out.table(
            ("image", "true", "predicted", "probability"),
            ((m.path or m.index, m.true, m.predicted, f"{m.probability:.4f}") for m in mistakes),
            title="Most confident mistakes",
        )
    if report.novelty is not None and report.novelty.foreign:
        _show_foreign(out, report.novelty.foreign)
    if report.robustness is not None:
        _show_robustness(out, report.robustness)
    if report.against is not None:
        _show_comparison(out, report.against, str(report.setup.weights))


def _show_classes(out: Output, evaluation: Evaluation) -> None:
    """Print all classes and their confusions, or of many classes the worst ones."""
    metrics, names = evaluation.metrics, evaluation.classes
    is_short = len(names) <= _CLASSES
    worst = sorted((c for c in metrics.per_class if c.support), key=lambda c: c.f1)[:_CLASSES]
    out.table(
        ("class", "precision", "recall", "F1", "images"),
        (
            (c.name, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", c.support)
            for c in (metrics.per_class if is_short else worst)
        ),
        title=None if is_short else f"The {len(worst)} worst of {len(names)} classes",
    )
    if is_short:
        out.table(
            ("true ↓  predicted →", *names),
            ((name, *row) for name, row in zip(names, metrics.confusion_matrix, strict=True)),
        )
        return
    confusions = [
        (count, names[true], names[predicted])
        for true, row in enumerate(metrics.confusion_matrix)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    confusions.sort(key=lambda item: -item[0])
    out.table(
        ("true", "predicted", "images"),
        ((true, predicted, count) for count, true, predicted in confusions[:_CLASSES]),
        title="Most frequent confusions",
    )


def _show_foreign(out: Output, foreign: Iterable[ForeignImages]) -> None:
    out.table(
        ("out-of-distribution", "images", "AUROC", "95% interval", "called unknown"),
        (
            (f.dataset, f.n, f"{f.auroc:.4f}", "{:.4f} to {:.4f}".format(*f.auroc_ci95), f"{f.unknown:.4f}")
            for f in foreign
        ),
        title="Novelty",
    )


def _show_robustness(out: Output, robustness: Robustness) -> None:
    def means(cases: Iterable[CorruptedAccuracy]) -> tuple[str, ...]:
        return tuple(f"{value:.4f}" for value in means_over(cases))

    for title, types in robustness.lists().items():
        rows = [(name, *(f"{case.accuracy:.4f}" for case in cases), *means(cases)) for name, cases in types.items()]
        out.table(
            ("corruption", "severity 1", "2", "3", "4", "5", "mean", "calibration error"),
            [*rows, ("mean over these", "", "", "", "", "", *means(chain(*types.values())))],
            title=f"Accuracy under corruptions {title}",
        )
    out.line(
        f"Mean over the first twelve corruptions {robustness.mean_accuracy:.4f} (calibration error "
        f"{robustness.mean_ece:.4f}), over the others {robustness.mean_accuracy_further:.4f} "
        f"({robustness.mean_ece_further:.4f})"
    )


def _show_comparison(out: Output, against: Against, first: str) -> None:
    comparison = against.comparison
    low, high = comparison.difference_ci95
    out.line(f"Against {against.weights}, on the same images")
    out.line(f"  difference in accuracy  {comparison.difference:+.4f} (95% interval {low:+.4f} to {high:+.4f})")
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
            ("image", "true", "first", "second"),
            ((d.path or d.index, d.true, d.first, d.second) for d in shown),
            title=f"The first {len(shown)} of {len(comparison.disagreements)} disagreements (--json has all)",
        )
