"""``lrnet eval``."""

import sys
from typing import TYPE_CHECKING

from lrnet_cli import paths, ranks
from lrnet_cli.cli import output
from lrnet_cli.cli.launch import launch_if_asked
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.escape import in_shell
from lrnet_cli.settings.requests import EvalRequest

if TYPE_CHECKING:
    from lrnet_cli.evaluation.report import Report

EXAMPLES = (
    "lrnet eval",
    "lrnet eval --weights runs/stamps --dataset stamps/ --report report.html",
    "lrnet eval --weights digits --dataset digits --corruptions --limit 1000",
)


@with_request(EvalRequest)
def eval_command(request: EvalRequest, json: Json = False) -> None:
    """Evaluate weights on a data set: accuracy with its interval, calibration, classes, mistakes, robustness."""
    for path in (request.plot, request.report, request.predictions):
        if path is not None:
            paths.check_writable(path)
    launch_if_asked(request)
    from lrnet_cli.cli.eval_tables import show_report
    from lrnet_cli.evaluation.run import evaluate_weights

    with output.LoadBars() as bars:
        report = evaluate_weights(request, bars)
    if not ranks.is_first():
        return
    out = Output(json)
    out.document(report.document())
    show_report(out, report)
    _write_files(report)  # last: what is printed is not lost if this fails


def _write_files(report: "Report") -> None:
    request, evaluation = report.request, report.evaluation
    if request.predictions is not None:
        from lrnet_cli.evaluation.predictions import write_predictions

        with paths.write_errors(request.predictions):
            write_predictions(
                request.predictions, evaluation, every_class=request.probabilities, spreadsheet=request.spreadsheet
            )
    if request.plot is None and request.report is None:
        return
    from lrnet_cli.report.page import write_report, write_robustness_plot  # matplotlib takes a second

    if request.plot is not None and report.robustness is not None:
        name = report.setup.weights.parent.name
        write_robustness_plot(request.plot, {name: (evaluation.metrics.accuracy, report.robustness)})
    if request.report is not None:
        write_report(request.report, report, in_shell("lrnet", *sys.argv[1:]))
        output.message(f"Report: {request.report}")
