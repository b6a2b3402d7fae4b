"""Evaluating weights as a request says: everything that ``lrnet eval`` does but print and write files."""

from dataclasses import replace

from lrnet_cli.errors import UsageError
from lrnet_cli.evaluation.corruptions import measure_robustness
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.foreign import MeasuredNovelty, measure_foreign
from lrnet_cli.evaluation.paired import compare_paired
from lrnet_cli.evaluation.report import Against, Report
from lrnet_cli.evaluation.setup import EvaluationSetup, load_foreign, load_setup
from lrnet_cli.processes import joined
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.find import described_weights, find_weights
from lrnet_cli.weights.open import engine_for


def evaluate_weights(request: EvalRequest, reporter: Reporter = SILENT) -> Report:
    """Evaluate the weights that ``request`` names, and measure what else it asks for; nothing is written.

    Processes that were started together share the work, and each returns the report. Raises ``WeightsError``,
    ``DataError``, ``DeviceError`` or ``UsageError`` for what cannot be used.
    """
    weights = find_weights(request.weights)
    against = None if request.against is None else find_weights(request.against)
    engine = engine_for(request, *filter(None, (weights, against)))
    with joined(engine.device, lambda: "Run the command again.") as processes:
        setup = load_setup(weights, request, engine, processes, reporter)
        reporter.message(f"Weights: {described_weights(weights)}. Device: {setup.opened.runs_on}{processes.among}.")
        same_images = replace(request, dataset=setup.source)
        other = None if against is None else load_setup(against, same_images, engine, processes, reporter, setup)
        evaluation = setup.evaluate(tta=request.tta)
        compared = None
        if other is not None:
            second = other.evaluate(tta=request.tta)
            compared = Against(other.weights, second.metrics.accuracy, compare_paired(evaluation, second))
        novelty = _measure_novelty(setup, evaluation, request, reporter)
        robustness = None
        if request.corruptions:
            if request.tta:
                reporter.message(
                    "--tta averages views of uncorrupted images; under --corruptions there is one view of each."
                )
            robustness = measure_robustness(setup.opened.network, setup.split, setup.card, processes, reporter=reporter)
    return Report(request, setup, evaluation, compared, novelty, robustness)


def _measure_novelty(
    setup: EvaluationSetup, evaluation: Evaluation, request: EvalRequest, reporter: Reporter
) -> MeasuredNovelty | None:
    """Return how many of the images, and of foreign data sets, are unknown; None if the weights cannot say."""
    if setup.card.novelty is None:
        if request.foreign:
            raise UsageError(
                f"{setup.weights}: cannot recognise out-of-distribution images, because they hold no novelty; use "
                "weights that have one."
            )
        return None
    # Averaged views are not what novelty was fitted to.
    known = setup.novelty(setup.split.images) if request.tta else setup.card.novelty(evaluation.outputs)
    loaded = [load_foreign(setup, name, request, reporter) for name in request.foreign]
    measured = tuple(measure_foreign(name, setup.novelty(images), known) for name, images in loaded)
    return MeasuredNovelty(float((known > 1).float().mean()), measured)
