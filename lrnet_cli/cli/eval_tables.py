"""What ``lrnet eval`` prints."""

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

from lrnet_cli.cli.output import Output

if TYPE_CHECKING:
    from lrnet_cli.evaluation.corruptions import CorruptedAccuracy, Robustness
    from lrnet_cli.evaluation.evaluate import Evaluation
    from lrnet_cli.evaluation.macro import ClassAverages
    from lrnet_cli.evaluation.paired import PairedComparison

MISTAKES, _DISAGREEMENTS = 10, 10  # how many are printed
_CLASSES = 20  # up to which all are printed; of more, only the worst


def show_evaluation(
    out: Output,
    evaluation: "Evaluation",
    averages: "ClassAverages",
    split: str,
    novelty: dict[str, Any] | None,
    robustness: "Robustness | None",
) -> None:
    """Print the figures of an evaluation, those of foreign and of corrupted pictures last."""
    metrics = evaluation.metrics
    low, high = metrics.accuracy_ci95
    out.line(f"{evaluation.dataset}, {split} split, {metrics.n} pictures")
    out.line(f"  accuracy           {metrics.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})")
    for name, (value, (low, high)) in averages.named().items():
        out.line(f"  {name:17}  {value:.4f} (95 % interval {low:.4f} to {high:.4f})")
    for k, share in metrics.top_k_accuracy.items():
        out.line(f"  top-{k} accuracy     {share:.4f}")
    out.line(f"  log loss           {metrics.loss:.4f}")
    out.line(f"  calibration error  {metrics.ece:.4f} ({evaluation.ece_uncalibrated:.4f} before calibration)")
    if novelty is not None:
        out.line(f"  called unknown     {novelty['unknown']:.4f} (novelty above 1)")
    out.line(f"  speed              {evaluation.images_per_second:.0f} images per second")
    _show_classes(out, evaluation)
    out.table(
        ("confidence", "pictures", "mean confidence", "accuracy"),
        (
            (f"{b.low:.3f} to {b.high:.3f}", b.count, f"{b.confidence:.4f}", f"{b.accuracy:.4f}")
            for b in metrics.reliability
        ),
        title="Reliability",
    )
    if mistakes := evaluation.mistakes(MISTAKES):
        out.table(
            ("picture", "true", "predicted", "probability"),
            ((m.path or m.index, m.true, m.predicted, f"{m.probability:.4f}") for m in mistakes),
            title="Most confident mistakes",
        )
    if novelty is not None and novelty["foreign"]:
        _show_foreign(out, novelty["foreign"])
    if robustness is not None:
        _show_robustness(out, robustness)


def _show_classes(out: Output, evaluation: "Evaluation") -> None:
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


def _show_foreign(out: Output, foreign: list[dict[str, Any]]) -> None:
    out.table(
        ("foreign pictures", "number", "AUROC", "95 % interval", "called unknown"),
        (
            (
                item["dataset"],
                item["n"],
                f"{item['auroc']:.4f}",
                "{:.4f} to {:.4f}".format(*item["auroc_ci95"]),
                f"{item['unknown']:.4f}",
            )
            for item in foreign
        ),
        title="Novelty",
    )


def _show_robustness(out: Output, robustness: "Robustness") -> None:
    from lrnet_cli.evaluation.corruptions import means_over

    def means(cases: Iterable["CorruptedAccuracy"]) -> tuple[str, ...]:
        return tuple(f"{value:.4f}" for value in means_over(cases))

    for title, kinds in robustness.lists().items():
        rows = [(name, *(f"{case.accuracy:.4f}" for case in cases), *means(cases)) for name, cases in kinds.items()]
        out.table(
            ("corruption", "severity 1", "2", "3", "4", "5", "mean", "calibration error"),
            [*rows, ("mean over these", "", "", "", "", "", *means(chain(*kinds.values())))],
            title=f"Accuracy under corruptions {title}",
        )
    out.line(
        f"Mean over the first twelve kinds {robustness.mean_accuracy:.4f} (calibration error "
        f"{robustness.mean_ece:.4f}), over the others {robustness.mean_accuracy_further:.4f} "
        f"({robustness.mean_ece_further:.4f})"
    )


def show_comparison(out: Output, comparison: "PairedComparison", first: str, second: str) -> None:
    """Print a paired comparison of two weight files."""
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
            ((d.path or d.index, d.true, d.first, d.second) for d in shown),
            title=f"The first {len(shown)} of {len(comparison.disagreements)} disagreements (--json has all)",
        )
