"""``lrnet eval``."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import MofNCompleteColumn

from lrnet_cli import paths, ranks
from lrnet_cli.cli import output
from lrnet_cli.cli.eval_tables import MISTAKES, show_comparison, show_evaluation
from lrnet_cli.cli.launch import among, launch_if_asked
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.errors import UsageError
from lrnet_cli.escape import in_shell
from lrnet_cli.settings.requests import EvalRequest

if TYPE_CHECKING:
    from lrnet_cli.evaluation.corruptions import Robustness
    from lrnet_cli.evaluation.evaluate import Evaluation
    from lrnet_cli.evaluation.exam import Exam
    from lrnet_cli.evaluation.examined import Examined
    from lrnet_cli.evaluation.macro import ClassAverages
    from lrnet_cli.models.engine import Engine
    from lrnet_cli.processes import Processes

EXAMPLES = (
    "lrnet eval",
    "lrnet eval --weights runs/stamps --dataset stamps/ --report report.html",
    "lrnet eval --weights digits --dataset digits --corruptions --limit 1000",
)


@with_request(EvalRequest)
def eval_command(request: EvalRequest, json: Json = False) -> None:
    """Evaluate weights on a data set: accuracy with its interval, calibration, classes, mistakes, robustness."""
    weights, dataset, split, tta, against = (
        request.weights,
        request.dataset,
        request.split,
        request.tta,
        request.against,
    )
    corruptions, foreign, plot, report = request.corruptions, list(request.foreign), request.plot, request.report
    predictions, every_class, spreadsheet = request.predictions, request.probabilities, request.spreadsheet
    invert, limit = request.invert, request.limit
    given = {"mirror": request.mirror, "data_dir": request.data_dir}
    _check(plot, corruptions, report, predictions, every_class, spreadsheet)
    launch_if_asked(request)
    from lrnet_cli.evaluation.exam import write_predictions
    from lrnet_cli.evaluation.macro import class_averages
    from lrnet_cli.weights.find import find_weights
    from lrnet_cli.weights.open import engine_for

    files = [find_weights(name) for name in ((weights,) if against is None else (weights, against))]
    engine = engine_for(request, *files)
    found = _examine(
        engine,
        files,
        dataset,
        split,
        tta=tta,
        corruptions=corruptions,
        foreign=foreign or [],
        limit=limit,
        invert=invert,
        **given,
    )
    if not ranks.is_first():
        return
    exam, evaluation = found.exam, found.evaluation
    averages = class_averages(evaluation.probabilities, evaluation.labels)
    out = Output(json)
    out.document(found.document(averages, engine, split, tta=tta, mistakes=MISTAKES))
    show_evaluation(out, evaluation, averages, split, found.novelty, found.robustness)
    if found.rival is not None:
        show_comparison(out, found.rival.comparison, str(exam.weights), str(found.rival.exam.weights))
    if predictions is not None:
        write_predictions(predictions, evaluation, every_class=every_class, spreadsheet=spreadsheet)
    provenance = _provenance(exam, split, limit, tta)
    _write_pages(exam, evaluation, averages, found.robustness, plot, report, provenance)


def _examine(
    engine: "Engine",
    files: list[Path],
    dataset: str | None,
    split: Any,
    *,
    tta: bool,
    corruptions: bool,
    foreign: list[str],
    invert: Any,
    **settings: Any,
) -> "Examined":
    """Return all that needs the network, to which every process contributes."""
    from lrnet_cli.evaluation.examined import Examined, Rival
    from lrnet_cli.evaluation.paired import compare_paired
    from lrnet_cli.processes import joined, loss_named

    rival = None
    with joined(engine.device) as processes, loss_named(processes, lambda: "Run the command again."):
        exam, rival_exam = _load_exams(files, engine, dataset, split, processes, invert=invert, **settings)
        evaluation = exam.evaluate(tta=tta)
        if rival_exam is not None:
            other = rival_exam.evaluate(tta=tta)
            rival = Rival(rival_exam, other.metrics.accuracy, compare_paired(evaluation, other))
        novelty = _measure_novelty(exam, evaluation, tta, foreign, **settings)
        if tta and corruptions:
            output.message(
                "--tta averages views of uncorrupted pictures; under --corruptions there is one view of each."
            )
        robustness = _measure_robustness(exam) if corruptions else None
    return Examined(exam, evaluation, rival, novelty, robustness)


def _check(
    plot: Path | None,
    corruptions: bool,
    report: Path | None,
    predictions: Path | None,
    every_class: bool,
    spreadsheet: bool,
) -> None:
    if every_class and predictions is None:
        raise UsageError("--probabilities adds columns to --predictions; give both.")
    if spreadsheet and predictions is None:
        raise UsageError("--spreadsheet is for the file of --predictions; give both.")
    if plot is not None and not corruptions:
        raise UsageError("--plot shows the accuracies under --corruptions; give both.")
    for target in (plot, report, predictions):
        if target is not None:
            paths.check_writable(target)


def _load_exams(
    files: list[Path],
    engine: "Engine",
    dataset: str | None,
    split: Any,
    processes: "Processes",
    **settings: Any,
) -> tuple["Exam", "Exam | None"]:
    """Return the exams of the first weights and of those they are compared with, if any, on the same data set."""
    from lrnet_cli.evaluation.exam import load_exam

    exams: list[Exam] = []
    with output.LoadBars() as bars:
        for path in files:
            exam = load_exam(
                path,
                exams[0].source if exams else dataset,
                split,
                engine=engine,
                processes=processes,
                on_progress=bars.download,
                on_pictures=bars.pictures,
                on_message=output.message,
                **settings,
            )
            if not exams:
                output.message(f"Weights: {path}. Device: {exam.runs_on}{among(processes)}.")
            exams.append(exam)
    return exams[0], exams[1] if len(exams) > 1 else None


def _measure_robustness(exam: "Exam") -> "Robustness":
    from lrnet_cli.evaluation.corruptions import measure_robustness

    bar = output.progress(MofNCompleteColumn())
    with bar:
        task = bar.add_task("corruptions")
        return measure_robustness(
            exam.network,
            exam.split,
            exam.card,
            exam.processes,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _measure_novelty(
    exam: "Exam", evaluation: "Evaluation", tta: bool, foreign: list[str], **settings: Any
) -> dict[str, Any] | None:
    """Return how many of the pictures, and of ``foreign`` data sets, are unknown; None if the weights do not tell."""
    from lrnet_cli.evaluation.exam import load_foreign
    from lrnet_cli.evaluation.foreign import measure_foreign

    if exam.card.novelty is None:
        if foreign:
            raise UsageError(
                f"{exam.weights}: cannot tell foreign images; use those of a single run, not an export or several."
            )
        return None
    # Averaged views are not what novelty was fitted to.
    known = exam.novelty(exam.split.images) if tta else exam.card.novelty(evaluation.outputs)
    found = [load_foreign(exam, name, on_message=output.message, **settings) for name in foreign]
    measured = [asdict(measure_foreign(name, exam.novelty(images), known)) for name, images in found]
    return {"unknown": float((known > 1).float().mean()), "foreign": measured}


def _provenance(exam: "Exam", split: str, limit: int | None, tta: bool) -> dict[str, str]:
    return {
        "command": in_shell("lrnet", *sys.argv[1:]),
        "split": split + (f", {limit} pictures of it" if limit is not None else ""),
        "views": "averaged over several (--tta)" if tta else "one",
        "device": exam.runs_on,
    }


def _write_pages(
    exam: "Exam",
    evaluation: "Evaluation",
    averages: "ClassAverages",
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
        write_report(report, exam, evaluation, averages, robustness, provenance)
        output.message(f"Report: {report}")
