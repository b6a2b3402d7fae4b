"""The files that an evaluation was asked for: predictions, plot and page."""

from lrnet_cli.evaluation.predictions import write_predictions
from lrnet_cli.evaluation.report import Report


def write_files(report: Report, command: str) -> None:
    """Write the files that the request of ``report`` names; ``command`` is the command line, for the page.

    Raises ``UsageError`` for a file that cannot be written, ``DataError`` for damaged learning curves of the weights.
    """
    request, evaluation = report.request, report.evaluation
    if request.predictions is not None:
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
        write_report(request.report, report, command)
