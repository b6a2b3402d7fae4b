"""Evaluating weights as a request says: everything that ``lrnet eval`` does but print and write files."""

from dataclasses import replace
from functools import partial

from lrnet_cli.errors import UsageError
from lrnet_cli.evaluation.corruptions import measure_robustness
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.foreign import MeasuredNovelty, measure_foreign
from lrnet_cli.evaluation.paired import compare_paired
from lrnet_cli.evaluation.report import Against, Report
from lrnet_cli.evaluation.setup import EvaluationSetup, load_foreign, load_setup
from lrnet_cli.processes import joined, loss_named
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.find import find_weights
from lrnet_cli.weights.open import engine_for


def evaluate_weights(request: EvalRequest, reporter: Reporter = SILENT) -> Report:
    """Evaluate the weights that ``request`` names, and measure what else it asks for; nothing is written.

    Processes that were started together share the work, and each returns the report. Raises ``WeightsError``,
    ``DataError``, ``DeviceError`` or ``UsageError`` for what cannot be used.
    """
    files = [find_weights(request.weights)]
    if request.against is not None:
        files.append(find_weights(request.against))
    engine = engine_for(request, *files)
    with joined(engine.device) as processes, loss_named(processes, lambda: "Run the command again."):
        setup = load_setup(files[0], request, engine, processes, reporter)
        reporter.message(f"Weights: {files[0]}. Device: {setup.opened.runs_on}{processes.among}.")
        same_images = replace(request, dataset=setup.source)
        others = [load_setup(path, same_images, engine, processes, reporter) for path in files[1:]]
        evaluation = setup.evaluate(tta=request.tta)
        against = [_compared(evaluation, other, request) for other in others]
        novelty = _measure_novelty(setup, evaluation, request, reporter)
        robustness = None
        if request.corruptions:
            if request.tta:
                reporter.message(
                    "--tta averages views of uncorrupted images; under --corruptions there is one view of each."
                )
            on_progress = partial(reporter.work, "corruptions")
            robustness = measure_robustness(
                setup.opened.network, setup.split, setup.card, processes, on_progress=on_progress
            )
    return Report(request, setup, evaluation, against[0] if against else None, novelty, robustness)


def _compared(evaluation: Evaluation, other: EvaluationSetup, request: EvalRequest) -> Against:
    second = other.evaluate(tta=request.tta)
    return Against(other.weights, second.metrics.accuracy, compare_paired(evaluation, second))


def _measure_novelty(
    setup: EvaluationSetup, evaluation: Evaluation, request: EvalRequest, reporter: Reporter
) -> MeasuredNovelty | None:
    """Return how many of the images, and of foreign data sets, are unknown; None if the weights cannot say."""
    if setup.card.novelty is None:
        if request.foreign:
            raise UsageError(
                f"{setup.weights}: cannot tell foreign images; use those of a single run, not an export or several."
            )
        return None
    # Averaged views are not what novelty was fitted to.
    known = setup.novelty(setup.split.images) if request.tta else setup.card.novelty(evaluation.outputs)
    loaded = [load_foreign(setup, name, request, reporter) for name in request.foreign]
    measured = tuple(measure_foreign(name, setup.novelty(images), known) for name, images in loaded)
    return MeasuredNovelty(float((known > 1).float().mean()), measured)
