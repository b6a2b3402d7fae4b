"""The ``lrnet`` command: registers the commands and turns failures into messages and exit codes."""

import os
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lrnet_cli import __version__
from lrnet_cli.cli import (
    audit,
    bench,
    cache,
    check,
    compare,
    download,
    eval,
    export,
    info,
    launch,
    output,
    predict,
    review,
    select,
    train,
)
from lrnet_cli.cli.help import Command, Group
from lrnet_cli.errors import InterruptedRunError, LostProcessError, LRNetError, SettingError, UsageError
from lrnet_cli.escape import printable
from lrnet_cli.settings.setting import flag_of

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def _exit_code(error: LRNetError) -> int:
    if isinstance(error, UsageError):
        return WRONG_USAGE
    if isinstance(error, LostProcessError) and launch.is_launched():
        return launch.LOST_ANOTHER
    return INTERRUPTED if isinstance(error, InterruptedRunError) else FAILED


def _lines(error: LRNetError) -> list[str]:
    return [error.naming(flag_of)] if isinstance(error, SettingError) else [str(line) for line in error.args]


class _Group(Group):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LRNetError as error:
            if os.environ.get("LRNET_DEBUG", "0") not in ("", "0"):
                traceback.print_exception(error)
            code, lines = _exit_code(error), _lines(error)
            if not launch.is_launched():
                output.error(*lines)
            elif code != launch.LOST_ANOTHER:
                launch.note_reason(code, *lines)
            raise typer.Exit(code) from error
        except typer.TyperException as error:  # wrong usage, which Typer reports
            error.message = printable(error.message)
            raise
        except KeyboardInterrupt:
            output.message("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None


def _epilog(*examples: str) -> str:
    return "\n\n".join(["Examples:", *examples])  # an empty line starts a new line of the help page


app = typer.Typer(
    cls=_Group,
    name="lrnet",
    help="LR-Net for small, noisy, low-resolution images: train, evaluate and predict.",
    epilog=_epilog(
        "lrnet check stamps/",
        "lrnet train --dataset stamps/ --max-time 30m --out runs/stamps",
        "lrnet predict scans/ --weights runs/stamps --output labels.csv",
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"lrnet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


_WORK, _MACHINE = "Commands", "Data and this machine"

# In the order of use, each with what the list of commands says of it.
_COMMANDS: dict[str, tuple[Callable[..., None], tuple[str, ...], str, str]] = {
    "check": (check.check_command, check.EXAMPLES, _WORK, "Check a data set before training on it."),
    "select": (select.select_command, select.EXAMPLES, _WORK, "Select the images to label first."),
    "train": (train.train_command, train.EXAMPLES, _WORK, "Train a network."),
    "eval": (eval.eval_command, eval.EXAMPLES, _WORK, "Evaluate a network on a data set."),
    "predict": (predict.predict_command, predict.EXAMPLES, _WORK, "Classify images."),
    "audit": (audit.audit_command, audit.EXAMPLES, _WORK, "Check labels on a random sample."),
    "review": (review.review_command, review.EXAMPLES, _WORK, "Confirm and correct labels in a browser."),
    "compare": (compare.compare_command, compare.EXAMPLES, _WORK, "Compare finished runs."),
    "export": (export.export_command, export.EXAMPLES, _WORK, "Write a network as .onnx or .pt2."),
    "download": (download.download_command, download.EXAMPLES, _MACHINE, "Download data sets."),
    "info": (info.info_command, info.EXAMPLES, _MACHINE, "Show versions, devices, data and weights."),
    "cache": (cache.cache_command, cache.EXAMPLES, _MACHINE, "Show or delete prepared images."),
    "bench": (bench.bench_command, bench.EXAMPLES, _MACHINE, "Measure the speed of LR-Net here."),
}
for _name, (_command, _examples, _panel, _short) in _COMMANDS.items():
    app.command(_name, cls=Command, epilog=_epilog(*_examples), rich_help_panel=_panel, short_help=_short)(_command)


def main() -> None:
    """Run the command line and exit."""
    # No child process, of ours or of a compiler, imports what lies in the working folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    app()
