"""Makes a run a released network: ``python tests/benchmarks/release.py RUN NAME --commit ID [--limit 1000]``.

Writes the run folder ``lrnet_cli/released/NAME``: the weights in half precision if they give as many right answers on
the test images as in single precision, and as they are if not; result, settings, curves, and a model card with the
accuracy under corruptions on ``--limit`` of the test images.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

from lrnet_cli.evaluation.corruptions import SEVERITIES, measure_robustness
from lrnet_cli.evaluation.exam import load_exam
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.registry import summary_of
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.runs.folder import read_config, read_result, write_result
from lrnet_cli.runs.model_card import write_model_card
from lrnet_cli.settings.command import command_of
from lrnet_cli.weights.file import load_weights, save_weights
from lrnet_cli.weights.find import RELEASED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name", choices=RELEASED)
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    parser.add_argument("--limit", type=int, default=1000, help="test pictures for each corruption")
    options = parser.parse_args()
    run, target, engine = options.run, RELEASED[options.name], Engine.choose()
    config, _ = read_config(run)
    result = read_result(run)
    assert result is not None
    assert result["test_accuracy"] is not None
    target.mkdir(parents=True, exist_ok=True)
    model, card = load_weights(run / WEIGHTS_NAME)
    half = target / WEIGHTS_NAME
    save_weights(half, model.half(), card)
    single, halved = (load_exam(path, None, "test", engine=engine).evaluate() for path in (run / WEIGHTS_NAME, half))
    is_halved = halved.metrics.accuracy >= single.metrics.accuracy
    evaluation = halved if is_halved else single
    stored = "half" if is_halved else "single"
    print(f"Accuracy {single.metrics.accuracy} in single precision, {halved.metrics.accuracy} in half: stored {stored}")
    exam = load_exam(run / WEIGHTS_NAME, None, "test", engine=engine, limit=options.limit)
    clean, robustness = exam.evaluate().metrics.accuracy, measure_robustness(exam.network, exam.split, exam.card)
    metrics = evaluation.metrics
    measured = {
        "test_images": metrics.n,
        "test_accuracy": metrics.accuracy,
        "test_accuracy_ci95": list(metrics.accuracy_ci95),
        "test_loss": metrics.loss,
        "test_ece": metrics.ece,
        "test_ece_uncalibrated": evaluation.ece_uncalibrated,
    }
    card = replace(
        card,
        metrics=card.metrics
        | measured
        | {
            "robustness": robustness.mean_accuracy,
            "robustness_further": robustness.mean_accuracy_further,
            "robustness_images": len(exam.split),
        },
        protocol=card.protocol | {"command": command_of(config), "commit": options.commit, "stored": stored},
    )
    model, _ = load_weights(run / WEIGHTS_NAME)
    save_weights(half, model.half() if is_halved else model, card)
    costs = summary_of(card.arch, **card.arch_args)
    result |= measured | {
        "run_dir": options.name,
        "weights": f"{options.name}/{WEIGHTS_NAME}",
        "parameters": costs.parameters,
        "multiply_adds": costs.multiply_adds,
        "test_images_per_second": evaluation.images_per_second,
    }
    write_result(target, result)
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    settings["settings"] |= {"out": None, "data_dir": None, "mirror": None}
    (target / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for name in ("metrics.csv", "curves.png"):
        shutil.copyfile(run / name, target / name)
    table = [
        "## Robustness",
        "",
        f"Accuracy on {len(exam.split)} of the test pictures, {clean:.4f} as they are, under corruptions "
        f"(`lrnet eval --weights {options.name} --corruptions --limit {options.limit}`); the mean over the first "
        f"twelve kinds is {robustness.mean_accuracy:.4f}, over the others {robustness.mean_accuracy_further:.4f}.",
        "",
        f"| corruption | {' | '.join(f'severity {severity}' for severity in SEVERITIES)} |",
        f"|{'---|' * (len(SEVERITIES) + 1)}",
        *(
            line
            for title, kinds in robustness.lists().items()
            for line in [
                f"| **{title}** |{' |' * len(SEVERITIES)}",
                *(
                    f"| {name.replace('_', ' ')} | " + " | ".join(f"{case.accuracy:.3f}" for case in cases) + " |"
                    for name, cases in kinds.items()
                ),
            ]
        ),
        "",
    ]
    code = f"- Code: commit {options.commit}; weights stored in {stored} precision"
    write_model_card(target, config, card, result["device"], evaluation, result["test_reads"], [*table, code, ""])
    print(json.dumps(measured), (target / WEIGHTS_NAME).stat().st_size)


if __name__ == "__main__":
    main()
