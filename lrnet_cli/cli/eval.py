"""``lrnet eval``."""

import sys

from lrnet_cli import paths, ranks
from lrnet_cli.cli import output
from lrnet_cli.cli.launch import launch_if_asked
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.escape import in_shell
from lrnet_cli.settings.requests import EvalRequest

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
    from lrnet_cli.report.files import write_files

    with output.LoadBars() as bars:
        report = evaluate_weights(request, bars)
    if not ranks.is_first():
        return
    out = Output(json)
    out.document(report.document())
    show_report(out, report)
    write_files(report, in_shell("lrnet", *sys.argv[1:]))  # last: what is printed is not lost if this fails
    if request.report is not None:
        output.message(f"Report: {request.report}")
