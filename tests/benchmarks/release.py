"""Makes a run a released network: ``python tests/benchmarks/release.py RUN NAME --commit ID [--limit 1000]``.

Writes the run folder ``lrnet_cli/released/NAME``: weights, result, settings, curves, and a model card with accuracy and
calibration under corruptions on ``--limit`` of the test images, and how images of ``--foreign`` data sets and
some made ones are told from them. The weights are stored in half precision if they give as many right answers on the
validation images as in single precision. Temperature and novelty are fitted as at the end of a training, on the run's
own validation images, for runs of versions that did not yet do so.
"""

import argparse
import json
import os
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path

from altered import prepared
from foreign import as_table, foreign_of
from torch import nn

from lrnet_cli.evaluation.corruptions import SEVERITIES, Robustness, means_over, measure_robustness
from lrnet_cli.evaluation.evaluate import Evaluation, evaluate, recorded
from lrnet_cli.evaluation.setup import load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.registry import summary_of
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.reporter import EpochRow
from lrnet_cli.runs.folder import read_config, read_result, read_rows, write_result
from lrnet_cli.runs.model_card import write_model_card
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import command_of, to_plain
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.training.certainty import altered, calibrated, with_novelty
from lrnet_cli.training.step import Step
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights
from lrnet_cli.weights.find import RELEASED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name", choices=RELEASED)
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    parser.add_argument("--limit", type=int, default=1000, help="test images for each corruption")
    parser.add_argument(
        "--epoch", type=int, help="take this epoch's weights, of a run with --keep-epochs that chose by another rule"
    )
    parser.add_argument("--foreign", nargs="*", default=[], help="data sets of foreign images")
    options = parser.parse_args()
    target, engine = RELEASED[options.name], Engine.at()
    target.mkdir(parents=True, exist_ok=True)
    weights, config = target / WEIGHTS_NAME, portable(options.run)
    model, card, stored, row = certain(options.run, options.epoch, engine)
    recipe = card.protocol["recipe"] | {"init": config.init, "distill": list(config.distill)}
    more_protocol = {"recipe": recipe, "command": command_of(config), "commit": options.commit, "stored": stored}
    card = replace(card, protocol=card.protocol | more_protocol)
    save_weights(weights, model, card)
    evaluation = load_setup(weights, EvalRequest(), engine).evaluate()
    request = EvalRequest(limit=options.limit, foreign=tuple(options.foreign))
    setup = load_setup(weights, request, engine)
    clean = setup.evaluate()
    robustness = measure_robustness(setup.opened.network, setup.split, setup.card)
    unknown, foreign = foreign_of(setup, request)
    measured = {"test_images": evaluation.metrics.n} | recorded(evaluation)
    extra = {
        "robustness": robustness.mean_accuracy,
        "robustness_further": robustness.mean_accuracy_further,
        "robustness_ece": robustness.mean_ece,
        "robustness_ece_further": robustness.mean_ece_further,
        "robustness_images": len(setup.split),
        "novelty_auroc": {Path(item.dataset).name: item.auroc for item in foreign},
    }
    card = replace(card, metrics=card.metrics | measured | extra)
    save_weights(weights, model, card)
    measured |= {"best_epoch": row.epoch, "val_accuracy": row.val_accuracy}
    write_run(options.run, target, options.name, measured, evaluation, card, config)
    how = f"`lrnet eval --weights {options.name} --corruptions --limit {options.limit}`"
    more = [
        *corruption_table(clean, robustness, how),
        "## Out-of-distribution images",
        "",
        f"`predict` calls {unknown:.4f} of the same {len(setup.split)} test images unknown. AUROC is the probability "
        "that one of these images is more novel than a test image (`tests/benchmarks/foreign.py`).",
        "",
        *as_table(foreign),
        "",
        f"- Code: commit {options.commit}; weights stored in {stored} precision",
        "",
    ]
    result = read_result(target)
    assert result is not None
    write_model_card(target, config, card, result, evaluation, more)
    print(json.dumps(measured | extra), weights.stat().st_size)


def certain(folder: Path, epoch: int | None, engine: Engine) -> tuple[nn.Module, WeightsCard, str, EpochRow]:
    """Return the network of a run, its card with temperature and novelty, the precision to store it in, and its row."""
    run = prepared(folder, engine)
    weights = folder / WEIGHTS_NAME if epoch is None else folder / "epochs" / f"{epoch:03}.safetensors"
    number = load_weights(weights)[1].metrics["best_epoch"]
    [values] = [row for row in read_rows(folder) if row["epoch"] == number]
    row = EpochRow(**(values | {"epoch": number}))  # type: ignore[arg-type]
    split, step, found = run.val_split, Step(run), []
    robust = run.config.robust_strength
    spoilt = altered(split, robust, run.card.seed) if robust else None
    for precision in ("half", "single"):
        model, card = load_weights(weights)
        if precision == "half":
            model = model.half().float()
        network = engine.place(model, card.preprocessing.normalize).eval()
        clean, other = (
            evaluate(network, part, replace(card, temperature=1.0)) if part is not None else None
            for part in (split, spoilt)
        )
        assert clean is not None
        card = with_novelty(calibrated(card, row, clean, other), model, step)
        found.append((model.half() if precision == "half" else model, card, precision, clean.metrics.accuracy))
        print(f"Validation accuracy in {precision} precision: {clean.metrics.accuracy}")
    halved, single = found
    model, card, precision, _ = halved if halved[3] >= single[3] else single
    return model, card, precision, row


def portable(run: Path) -> TrainConfig:
    """Return the settings of a run without the paths of the machine that trained it, and with the test made here."""
    config, _ = read_config(run)
    init, *distill = (
        os.path.relpath(source, run.resolve().parent) if source and Path(source).is_absolute() else source
        for source in (config.init, *config.distill)
    )
    return replace(config, test=True, out=None, data_dir=None, mirror=None, init=init, distill=tuple(map(str, distill)))


def write_run(
    run: Path,
    target: Path,
    name: str,
    measured: dict[str, object],
    evaluation: Evaluation,
    card: WeightsCard,
    config: TrainConfig,
) -> None:
    """Write the run's other files to ``target``."""
    result = read_result(run)
    assert result is not None
    # An epoch chosen afterwards is one more reading of the test images.
    chosen = result["best_epoch"] != measured["best_epoch"] or result["test_accuracy"] is None
    result |= {"test_reads": result["test_reads"] + chosen, "status": "finished"}
    costs = summary_of(card.arch, **card.arch_args)
    result |= measured | {
        "run_dir": name,
        "weights": f"{name}/{WEIGHTS_NAME}",
        "parameters": costs.parameters,
        "multiply_adds": costs.multiply_adds,
        "test_images_per_second": evaluation.images_per_second,
    }
    write_result(target, result)
    document = json.loads((run / "config.json").read_text(encoding="utf-8")) | {"settings": to_plain(config)}
    (target / "config.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for file in ("metrics.csv", "curves.png"):
        if run.resolve() != target.resolve():
            shutil.copyfile(run / file, target / file)


def corruption_table(clean: Evaluation, robustness: Robustness, how: str) -> list[str]:
    def cells(*values: float) -> str:
        return " | ".join(f"{value:.3f}" for value in values)

    rows = []
    for title, types in robustness.lists().items():
        rows.append(f"| **{title}** |{' |' * len(SEVERITIES)} {cells(*means_over(chain(*types.values())))} |")
        for name, cases in types.items():
            accuracies = (case.accuracy for case in cases)
            rows.append(f"| {name.replace('_', ' ')} | {cells(*accuracies, *means_over(cases))} |")
    return [
        "## Robustness",
        "",
        f"Accuracy on {clean.metrics.n} of the test images, {clean.metrics.accuracy:.4f} as they are, under "
        f"corruptions ({how}). The mean over the first twelve kinds is {robustness.mean_accuracy:.4f} with a "
        f"calibration error of {robustness.mean_ece:.4f}; over the others it is "
        f"{robustness.mean_accuracy_further:.4f} with {robustness.mean_ece_further:.4f}.",
        "",
        f"| corruption | {' | '.join(f'severity {severity}' for severity in SEVERITIES)} | mean | calibration error |",
        f"|{'---|' * (len(SEVERITIES) + 3)}",
        *rows,
        "",
    ]


if __name__ == "__main__":
    main()
