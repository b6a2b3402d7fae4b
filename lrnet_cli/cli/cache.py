"""``lrnet cache``."""

import time
from typing import Annotated

import typer

from lrnet_cli import paths
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.settings.place import Cache

EXAMPLES = ("lrnet cache", "lrnet cache --clear")


@with_request(Cache)
def cache_command(
    cache: Cache,
    clear: Annotated[bool, typer.Option("--clear", help="Delete the prepared images.")] = False,
    json: Json = False,
) -> None:
    """Show or delete the prepared images that are kept to load folders faster; data sets are not touched."""
    from lrnet_cli.data.prepared import MOST_BYTES, packs

    kept = packs(cache.data_dir)
    if clear:
        for pack in kept:
            with paths.write_errors(pack.path, "delete it yourself"):
                pack.path.unlink(missing_ok=True)
    out = Output(json)
    total = sum(pack.size for pack in kept)
    out.document(
        {
            "schema": "lrnet.cache/1",
            "packs": [{"path": str(pack.path), "bytes": pack.size, "used": pack.used} for pack in kept],
            "bytes": total,
            "most_bytes": MOST_BYTES,
            "cleared": clear,
        }
    )
    if kept and not clear:
        out.table(
            ("prepared images", "MB", "last used"),
            (
                (pack.path, f"{pack.size / 1e6:.1f}", time.strftime("%Y-%m-%d %H:%M", time.localtime(pack.used)))
                for pack in kept
            ),
        )
    done = "deleted" if clear else f"of at most {MOST_BYTES / 1e9:.0f} GB"
    out.line(f"{len(kept)} packs of prepared images, {total / 1e6:.1f} MB {done}")
