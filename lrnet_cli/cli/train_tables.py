"""What ``lrnet train`` shows of a result."""

from pathlib import Path

from lrnet_cli.cli.output import Output
from lrnet_cli.documents import JsonObject
from lrnet_cli.escape import resuming


def show_run(out: Output, result: JsonObject) -> None:
    """Show how far a run got, and its result."""
    validation = f"validation accuracy {result['val_accuracy']:.4f}"
    resume = resuming(result["run_dir"])
    if result["status"] == "interrupted":
        out.line(f"Interrupted; the weights kept so far (epoch {result['best_epoch']}) are {result['weights']}.")
        out.line(f"  {validation}; the test set was not read")
        out.line(f"  to resume: {resume}")
        return
    if result["status"] == "unfinished":
        out.line("Unfinished: the time ended in the first epoch, after too few steps for a result.")
        out.line(f"  {validation}; the test set was not read")
        out.line(f"  to continue: {resume} --max-time LONGER")
        return
    if result["test_accuracy"] is None:
        out.line(f"Validation accuracy {result['val_accuracy']:.4f} in epoch {result['best_epoch']}; not tested")
    else:
        low, high = result["test_accuracy_ci95"]
        out.line(f"Test accuracy {result['test_accuracy']:.4f} (95% interval {low:.4f} to {high:.4f})")
        out.line(f"  {validation} in epoch {result['best_epoch']}")
    out.line(f"  weights {result['weights']}")
    out.line(f"  curves  {Path(result['run_dir']) / 'curves.png'}")
    out.line(f"  {result['seconds']:.0f} s, {result['train_images_per_second']:.0f} training images per second")


def show_series(out: Output, result: JsonObject) -> None:
    """Show the results of several runs, and those of all together."""
    out.table(
        ("run", "validation accuracy", "test accuracy", "epochs", "seconds"),
        (
            (
                Path(run["run_dir"]).name,
                f"{run['val_accuracy']:.4f}",
                "not read" if run["test_accuracy"] is None else f"{run['test_accuracy']:.4f}",
                run["epochs"],
                f"{run['seconds']:.0f}",
            )
            for run in result["runs"]
        ),
    )
    if result["test_accuracy"] is not None:
        low, high = result["test_accuracy"]["ci95"]
        over = {"seeds": "over seeds", "images": "over all test images"}[result["test_accuracy"]["over"]]
        out.line(f"Test accuracy {result['test_accuracy']['value']:.4f} (95% interval {over} {low:.4f} to {high:.4f})")
    else:
        out.line(f"Validation accuracy {result['val_accuracy']:.4f}")
    if result["status"] == "interrupted":
        out.line(f"Interrupted after {len(result['runs'])} of {result['of_runs']} runs.")
        out.line(f"  to resume: {resuming(result['run_dir'])}")
    else:
        out.line(f"  runs {result['run_dir']}")
