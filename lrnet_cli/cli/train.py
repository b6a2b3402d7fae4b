"""``lrnet train``."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer
from rich.progress import MofNCompleteColumn, TaskID, TextColumn

from lrnet_cli import choices
from lrnet_cli.cli import launch, output
from lrnet_cli.cli.options import DataDir, Json, Mirror
from lrnet_cli.errors import UsageError
from lrnet_cli.training.config import TrainConfig, changed, help_of, seconds_of
from lrnet_cli.training.reporter import EpochRow, Reporter

_RESUMABLE = ("resume", "epochs", "max_time", "device", "gpus", "procs", "json")
_RECIPE, _AUGMENTATION, _ENGINE = "Recipe", "Augmentation", "Engine"


def train_command(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Option(help=help_of("dataset"), show_default=False)] = "optdigits",
    arch: Annotated[choices.Arch, typer.Option(help=help_of("arch"), show_default=False)] = "lrnet",
    preset: Annotated[
        Literal["default", "paper", "quick"], typer.Option(help=help_of("preset"), show_default=False)
    ] = "default",
    epochs: Annotated[int | None, typer.Option(help=help_of("epochs"))] = None,
    max_time: Annotated[str | None, typer.Option(help=help_of("max_time"), metavar="TIME")] = None,
    batch_size: Annotated[int | None, typer.Option(help=help_of("batch_size"))] = None,
    limit: Annotated[int | None, typer.Option(help=help_of("limit"))] = None,
    image_size: Annotated[int | None, typer.Option(help=help_of("image_size"))] = None,
    channels: Annotated[int | None, typer.Option(help=help_of("channels"))] = None,
    val_fraction: Annotated[float | None, typer.Option(help=help_of("val_fraction"))] = None,
    test: Annotated[bool, typer.Option(help=help_of("test"), show_default=False)] = True,
    runs: Annotated[
        int | None, typer.Option(help="Train so many times, with the seeds --seed, --seed + 1, …, and tell the mean.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help=help_of("folds"))] = None,
    head: Annotated[choices.Head, typer.Option(help=help_of("head"), show_default=False)] = "softmax",
    lr: Annotated[float | None, typer.Option(help=help_of("lr"), rich_help_panel=_RECIPE)] = None,
    schedule: Annotated[
        choices.Schedule | None, typer.Option(help=help_of("schedule"), rich_help_panel=_RECIPE)
    ] = None,
    optimizer: Annotated[
        choices.Optimizer | None, typer.Option(help=help_of("optimizer"), rich_help_panel=_RECIPE)
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help=help_of("weight_decay"), rich_help_panel=_RECIPE)] = None,
    dropout: Annotated[float | None, typer.Option(help=help_of("dropout"), rich_help_panel=_RECIPE)] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help=help_of("label_smoothing"), rich_help_panel=_RECIPE)
    ] = None,
    clip_norm: Annotated[float | None, typer.Option(help=help_of("clip_norm"), rich_help_panel=_RECIPE)] = None,
    ema: Annotated[float | None, typer.Option(help=help_of("ema"), rich_help_panel=_RECIPE)] = None,
    patience: Annotated[int | None, typer.Option(help=help_of("patience"), rich_help_panel=_RECIPE)] = None,
    augment: Annotated[
        bool | None, typer.Option(help=help_of("augment"), show_default=False, rich_help_panel=_AUGMENTATION)
    ] = None,
    shift: Annotated[float | None, typer.Option(help=help_of("shift"), rich_help_panel=_AUGMENTATION)] = None,
    scale: Annotated[float | None, typer.Option(help=help_of("scale"), rich_help_panel=_AUGMENTATION)] = None,
    shear: Annotated[float | None, typer.Option(help=help_of("shear"), rich_help_panel=_AUGMENTATION)] = None,
    flip: Annotated[choices.Flip | None, typer.Option(help=help_of("flip"), rich_help_panel=_AUGMENTATION)] = None,
    cutout: Annotated[float | None, typer.Option(help=help_of("cutout"), rich_help_panel=_AUGMENTATION)] = None,
    noise: Annotated[float | None, typer.Option(help=help_of("noise"), rich_help_panel=_AUGMENTATION)] = None,
    blur: Annotated[float | None, typer.Option(help=help_of("blur"), rich_help_panel=_AUGMENTATION)] = None,
    device: Annotated[str, typer.Option(help=help_of("device"), show_default=False, rich_help_panel=_ENGINE)] = "auto",
    gpus: Annotated[int | None, typer.Option(help=help_of("gpus"), rich_help_panel=_ENGINE)] = None,
    procs: Annotated[int | None, typer.Option(help=help_of("procs"), rich_help_panel=_ENGINE)] = None,
    precision: Annotated[
        choices.Precision,
        typer.Option(help=help_of("precision"), show_default=False, rich_help_panel=_ENGINE),
    ] = "auto",
    compile: Annotated[
        choices.Compile,
        typer.Option(help=help_of("compile"), show_default=False, rich_help_panel=_ENGINE),
    ] = "auto",
    fold: Annotated[bool, typer.Option(help=help_of("fold"), show_default=False, rich_help_panel=_ENGINE)] = True,
    seed: Annotated[int | None, typer.Option(help=help_of("seed"), rich_help_panel=_ENGINE)] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help=help_of("deterministic"), rich_help_panel=_ENGINE)
    ] = False,
    keep_epochs: Annotated[bool, typer.Option("--keep-epochs", help=help_of("keep_epochs"))] = False,
    out: Annotated[Path | None, typer.Option(help=help_of("out"))] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the run in this folder; --epochs and --max-time may be raised.", metavar="RUN"),
    ] = None,
    mirror: Mirror = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Train a network and leave a run folder: weights, metrics, curves and a model card."""
    if resume is not None:
        fixed = sorted(name for name in ctx.params if name not in _RESUMABLE and _is_given(ctx, name))
        if fixed:
            flags = ", ".join("--" + name.replace("_", "-") for name in fixed)
            raise UsageError(f"--resume goes on with the run's own settings; leave out: {flags}.")
    seconds = seconds_of(max_time) if max_time is not None else None
    config = TrainConfig.from_preset(
        preset,
        max_time=seconds,
        dataset=dataset,
        arch=arch,
        epochs=epochs,
        batch_size=batch_size,
        limit=limit,
        image_size=image_size,
        channels=channels,
        val_fraction=val_fraction,
        test=test,
        head=head,
        lr=lr,
        schedule=schedule,
        optimizer=optimizer,
        weight_decay=weight_decay,
        dropout=dropout,
        label_smoothing=label_smoothing,
        clip_norm=clip_norm,
        ema=ema,
        patience=patience,
        augment=augment,
        shift=shift,
        scale=scale,
        shear=shear,
        flip=flip,
        cutout=cutout,
        noise=noise,
        blur=blur,
        device=device,
        gpus=gpus,
        procs=procs,
        precision=precision,
        compile=compile,
        fold=fold,
        seed=seed,
        deterministic=deterministic,
        keep_epochs=keep_epochs,
        out=out,
        mirror=mirror,
        data_dir=data_dir,
    )
    # These take seconds to load; wrong settings are told before.
    from lrnet_cli.engine import Engine
    from lrnet_cli.processes import started_together
    from lrnet_cli.training.loop import resume as resume_run
    from lrnet_cli.training.loop import train
    from lrnet_cli.training.run import is_series, read_config
    from lrnet_cli.training.series import resume_series, train_series

    changes: dict[str, Any] = {"epochs": epochs, "max_time": seconds, "gpus": gpus, "procs": procs}
    if _is_given(ctx, "device"):
        changes["device"] = device
    in_series = runs is not None or folds is not None
    if resume is not None:
        in_series = is_series(resume)
        if in_series and any(value is not None for value in changes.values()):
            raise UsageError("--resume goes on with a series of runs as it was begun; leave out other settings.")
        config = config if in_series else changed(read_config(resume)[0], **changes)
    count = config.procs or config.gpus or 1
    if count > 1 and not in_series and not started_together():
        Engine.choose(config.device, config.precision, gpus=config.gpus, procs=config.procs)  # or say what is not there
        raise typer.Exit(launch.launch(count))
    reporter = _Live()
    with closing(reporter), _stopping(lambda: reporter.is_training) as should_stop:
        if in_series and resume is not None:
            result = resume_series(resume, reporter, should_stop)
        elif in_series:
            result = train_series(config, runs=runs or 1, folds=folds, reporter=reporter, should_stop=should_stop)
        elif resume is None:
            result = train(config, reporter, should_stop)
        else:
            result = resume_run(resume, changes, reporter, should_stop)
    if not _is_first():
        return
    if json:
        output.print_json(result)
    elif in_series:
        _print_series(result)
    elif not result["interrupted"] and result["test_accuracy"] is None:
        print(
            f"Validation accuracy {result['val_accuracy']:.4f} in epoch {result['best_epoch']}; --no-test: not tested"
        )
        print(f"  weights {result['weights']}")
    elif result["interrupted"]:
        print(f"Interrupted; the best weights so far (epoch {result['best_epoch']}) are {result['weights']}.")
        print(
            f"  validation accuracy {result['val_accuracy']:.4f}; the test set was not read\n"
            f"  to go on: lrnet train --resume {result['run_dir']}"
        )
    else:
        low, high = result["test_accuracy_ci95"]
        print(f"Test accuracy {result['test_accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})")
        print(f"  validation accuracy {result['val_accuracy']:.4f} in epoch {result['best_epoch']}")
        print(f"  weights {result['weights']}")
        print(f"  curves  {Path(result['run_dir']) / 'curves.png'}")
        print(f"  {result['seconds']:.0f} s, {result['train_images_per_second']:.0f} training images a second")
    if result["interrupted"]:
        raise typer.Exit(130)


def _print_series(result: dict[str, Any]) -> None:
    output.print_table(
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
        print(f"Test accuracy {result['test_accuracy']['value']:.4f} (95 % interval {over} {low:.4f} to {high:.4f})")
    else:
        print(f"Validation accuracy {result['val_accuracy']:.4f}")
    if result["interrupted"]:
        print(f"Interrupted after {len(result['runs'])} of {result['of_runs']} runs.")
        print(f"  to go on: lrnet train --resume {result['run_dir']}")
    else:
        print(f"  runs {result['run_dir']}")


def _is_first() -> bool:
    """Return whether this is the only process of the training, or the one that speaks and decides for all."""
    return os.environ.get("RANK", "0") == "0"


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class _Live(Reporter):
    """Shows a bar for the epoch on a terminal, and a line an epoch everywhere."""

    def __init__(self) -> None:
        self.is_training = False
        self.downloads = output.DownloadBars()
        self.bar = output.progress(MofNCompleteColumn(), TextColumn("steps"))
        self._of_epochs = ""
        self._task: TaskID | None = None

    def close(self) -> None:
        self.downloads.display.stop()
        self.bar.stop()

    def message(self, text: str) -> None:
        if _is_first():
            output.message(text)

    def download(self, name: str, done: int, total: int | None) -> None:
        self.downloads.display.start()
        self.downloads.update(name, done, total)

    def start(self, run_dir: Path, epochs: int | None) -> None:
        launch.note_run(run_dir)
        self._of_epochs = f"/{epochs}" if epochs is not None else ""
        self.downloads.display.stop()

    def step(self, epoch: int, done: int, total: int) -> None:
        if self._task is None:
            self.is_training = True
            self.bar.start()
            self._task = self.bar.add_task("")
        self.bar.update(
            self._task,
            completed=done,
            total=total,
            description=f"epoch {epoch}{self._of_epochs}",
            refresh=done == total,
        )

    def epoch(self, row: EpochRow, is_best: bool, images_per_second: float) -> None:
        self.bar.console.print(
            f"epoch {row.epoch}{self._of_epochs}  train loss {row.train_loss:.4f}  accuracy {row.train_accuracy:.4f}  "
            f"val loss {row.val_loss:.4f}  accuracy {row.val_accuracy:.4f}{' (best)' if is_best else ''}  "
            f"{images_per_second:.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )


@contextmanager
def _stopping(is_training: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Yield a question that the first Ctrl-C or SIGTERM turns true; a second one interrupts at once.

    Before the first step there is nothing to save, so there the first one interrupts at once too.
    """
    asked = False

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not _is_first():
            return  # the first process decides, and ends the others
        if asked or not is_training():
            raise KeyboardInterrupt
        asked = True
        if not (
            launch.is_launched() and number == signal.SIGTERM
        ):  # by which the launcher ends what others left behind
            output.message("Stopping after this step; press Ctrl-C again to stop at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
