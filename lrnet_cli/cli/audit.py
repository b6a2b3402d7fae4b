"""``lrnet audit``."""

import typer

from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.settings.requests import AuditRequest

EXAMPLES = (
    "lrnet audit labels.csv --n 300",
    "lrnet audit labels.csv --answers reviewed.csv",
)
_BROKEN = 3


@with_request(AuditRequest)
def audit_command(request: AuditRequest, json: Json = False) -> None:
    """Draw accepted labels for a person to check, and bound the error of all labels by the answers."""
    from lrnet_cli.predict.audit import draw, judge

    out = Output(json)
    if request.answers is None:
        drawn = draw(request)
        out.document(drawn.document())
        out.line(f"{drawn.path}: {drawn.drawn} of {drawn.stack} accepted labels, drawn with seed {drawn.seed}.")
        return
    verdict = judge(request)
    audited = verdict.audited
    out.document(verdict.document())
    out.line(f"{audited.wrong} of {audited.checked} checked labels are wrong.")
    out.line(
        f"Of all {audited.stack} accepted labels {100 * audited.low:.2f} to {100 * audited.high:.2f}% are wrong "
        f"({100 * audited.confidence:g}% interval, exact, drawn without replacement)."
    )
    if verdict.unchecked:
        out.line(f"{verdict.unchecked} labels of the list are not checked; the interval holds if that is by chance.")
    if verdict.max_error is not None:
        kept = "contradicts" if verdict.is_broken else "does not contradict"
        out.line(f"The audit {kept} the promised error of {100 * verdict.max_error:g}%.")
    if verdict.is_broken:
        raise typer.Exit(_BROKEN)
