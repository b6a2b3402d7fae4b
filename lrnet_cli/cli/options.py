"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lrnet_cli import choices

DataDir = Annotated[
    Path | None, typer.Option(help="Folder of downloaded data sets.", envvar="LRNET_DATA_DIR", show_default="per user")
]
Mirror = Annotated[
    str | None,
    typer.Option(help="URL or folder to download from, in place of the built-in mirrors.", envvar="LRNET_MIRROR"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]
Device = Annotated[str, typer.Option(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, … or mps.")]
Precision = Annotated[
    choices.Precision,
    typer.Option(help="auto (bf16 where the hardware multiplies it natively, else fp32), fp32 or bf16."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A weight file, a run folder, or a released network: digits or fashion.",
        show_default="the newest run of this user, else digits",
    ),
]
Invert = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option(help="Swap light and dark: auto decides for each picture by the polarity of the training pictures."),
]
