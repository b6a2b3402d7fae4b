"""``lrnet eval``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from lrnet_cli.cli import output
from lrnet_cli.cli.options import DataDir, Device, Invert, Json, Mirror, Precision, Weights
from lrnet_cli.errors import UsageError


def eval_command(
    weights: Weights = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="A known data set or a path.", show_default="the known one that the weights were trained on"),
    ] = None,
    split: Annotated[Literal["test", "train", "val"], typer.Option(help="The split to evaluate on.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Use only so many pictures, always the same ones.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write every picture's prediction to this CSV file.")] = None,
    invert: Invert = "no",
    device: Device = "auto",
    precision: Precision = "auto",
    mirror: Mirror = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Evaluate weights on a data set: accuracy with its interval, loss, calibration, classes, confusion matrix."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit takes a whole number from 1 up, got {limit}.")
    from lrnet_cli.devices import describe_device
    from lrnet_cli.engine import Engine
    from lrnet_cli.evaluation.evaluate import evaluate_weights, write_predictions
    from lrnet_cli.weights import find_weights

    engine = Engine.choose(device, precision)
    path = find_weights(weights)
    output.message(f"Weights: {path}. Device: {engine}.")
    bars = output.DownloadBars()
    with bars.display:
        evaluation = evaluate_weights(
            path,
            dataset,
            split,
            engine=engine,
            limit=limit,
            invert=invert,
            data_dir=data_dir,
            mirror=mirror,
            on_progress=bars.update,
            on_message=output.message,
        )
    if predictions is not None:
        write_predictions(predictions, evaluation)
    metrics = evaluation.metrics
    if json:
        output.print_json(
            {
                "schema": "lrnet.eval/1",
                "dataset": evaluation.dataset,
                "split": split,
                "weights": str(path),
                **asdict(metrics),
                "images_per_second": evaluation.images_per_second,
                "device": describe_device(engine.device),
                "precision": engine.precision,
            }
        )
        return
    low, high = metrics.accuracy_ci95
    print(f"{evaluation.dataset}, {split} split, {metrics.n} pictures")
    print(f"  accuracy           {metrics.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})")
    print(f"  loss               {metrics.loss:.4f}")
    print(f"  calibration error  {metrics.ece:.4f}")
    print(f"  speed              {evaluation.images_per_second:.0f} images a second")
    output.print_table(
        ("class", "precision", "recall", "F1", "images"),
        ((c.name, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", c.support) for c in metrics.per_class),
    )
    output.print_table(
        ("true ↓  predicted →", *evaluation.classes),
        ((name, *row) for name, row in zip(evaluation.classes, metrics.confusion_matrix, strict=True)),
    )
