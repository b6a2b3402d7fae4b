"""``lrnet train``."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer
from rich.progress import MofNCompleteColumn, TaskID, TextColumn

from lrnet_cli.cli import output
from lrnet_cli.cli.options import DataDir, Json, Mirror
from lrnet_cli.errors import UsageError
from lrnet_cli.training.config import TrainConfig, help_of
from lrnet_cli.training.reporter import EpochRow, Reporter

_RESUMABLE = ("resume", "epochs", "device", "json")


def train_command(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Option(help=help_of("dataset"), show_default=False)] = "optdigits",
    arch: Annotated[Literal["lrnet"], typer.Option(help=help_of("arch"), show_default=False)] = "lrnet",
    preset: Annotated[
        Literal["default", "paper", "quick"], typer.Option(help=help_of("preset"), show_default=False)
    ] = "default",
    epochs: Annotated[int | None, typer.Option(help=help_of("epochs"))] = None,
    batch_size: Annotated[int | None, typer.Option(help=help_of("batch_size"))] = None,
    lr: Annotated[float | None, typer.Option(help=help_of("lr"))] = None,
    ema: Annotated[float | None, typer.Option(help=help_of("ema"))] = None,
    weight_decay: Annotated[float | None, typer.Option(help=help_of("weight_decay"))] = None,
    dropout: Annotated[float | None, typer.Option(help=help_of("dropout"))] = None,
    patience: Annotated[int | None, typer.Option(help=help_of("patience"))] = None,
    augment: Annotated[bool | None, typer.Option(help=help_of("augment"), show_default=False)] = None,
    head: Annotated[Literal["softmax", "sigmoid"], typer.Option(help=help_of("head"), show_default=False)] = "softmax",
    device: Annotated[str, typer.Option(help=help_of("device"), show_default=False)] = "auto",
    gpus: Annotated[int | None, typer.Option(help=help_of("gpus"))] = None,
    seed: Annotated[int | None, typer.Option(help=help_of("seed"))] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help=help_of("deterministic"))] = False,
    val_fraction: Annotated[float | None, typer.Option(help=help_of("val_fraction"))] = None,
    limit: Annotated[int | None, typer.Option(help=help_of("limit"))] = None,
    image_size: Annotated[int | None, typer.Option(help=help_of("image_size"))] = None,
    channels: Annotated[int | None, typer.Option(help=help_of("channels"))] = None,
    fold: Annotated[bool, typer.Option(help=help_of("fold"), show_default=False)] = True,
    out: Annotated[Path | None, typer.Option(help=help_of("out"))] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder; --epochs may be raised.", metavar="RUN")
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
    config = TrainConfig.from_preset(
        preset,
        dataset=dataset,
        arch=arch,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        dropout=dropout,
        patience=patience,
        ema=ema,
        augment=augment,
        fold=fold,
        head=head,
        device=device,
        gpus=gpus,
        seed=seed,
        deterministic=deterministic,
        val_fraction=val_fraction,
        limit=limit,
        image_size=image_size,
        channels=channels,
        out=out,
        mirror=mirror,
        data_dir=data_dir,
    )
    from lrnet_cli.training.loop import resume as resume_run
    from lrnet_cli.training.loop import train  # takes seconds; wrong settings are told before

    reporter = _Live()
    with closing(reporter), _stopping(lambda: reporter.is_training) as should_stop:
        if resume is None:
            result = train(config, reporter, should_stop)
        else:
            given_device = device if _is_given(ctx, "device") else None
            result = resume_run(resume, epochs=epochs, device=given_device, reporter=reporter, should_stop=should_stop)
    if json:
        output.print_json(result)
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


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class _Live(Reporter):
    """Shows a bar for the epoch on a terminal, and a line an epoch everywhere."""

    def __init__(self) -> None:
        self.is_training = False
        self.downloads = output.DownloadBars()
        self.bar = output.progress(MofNCompleteColumn(), TextColumn("steps"))
        self._epochs = 0
        self._task: TaskID | None = None

    def close(self) -> None:
        self.downloads.display.stop()
        self.bar.stop()

    def message(self, text: str) -> None:
        output.message(text)

    def download(self, name: str, done: int, total: int | None) -> None:
        self.downloads.display.start()
        self.downloads.update(name, done, total)

    def start(self, epochs: int) -> None:
        self._epochs = epochs
        self.downloads.display.stop()

    def step(self, epoch: int, done: int, total: int) -> None:
        if self._task is None:
            self.is_training = True
            self.bar.start()
            self._task = self.bar.add_task("")
        self.bar.update(
            self._task, completed=done, total=total, description=f"epoch {epoch}/{self._epochs}", refresh=done == total
        )

    def epoch(self, row: EpochRow, is_best: bool, images_per_second: float) -> None:
        self.bar.console.print(
            f"epoch {row.epoch}/{self._epochs}  train loss {row.train_loss:.4f}  accuracy {row.train_accuracy:.4f}  "
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

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked or not is_training():
            raise KeyboardInterrupt
        asked = True
        output.message("Stopping after this step; press Ctrl-C again to stop at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
