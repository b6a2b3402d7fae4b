"""``lrnet download``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lrnet_cli import paths
from lrnet_cli.cli import output
from lrnet_cli.cli.options import Json
from lrnet_cli.cli.output import Output
from lrnet_cli.cli.settings import with_request
from lrnet_cli.data.catalog import CATALOG, CatalogEntry, catalog_entry
from lrnet_cli.errors import DownloadError, UsageError
from lrnet_cli.settings.place import Source

EXAMPLES = (
    "lrnet download digits fashion",
    "lrnet download --list",
    "lrnet download oracle --mirror https://example.org/data",
)


@with_request(Source)
def download_command(
    source: Source,
    names: Annotated[
        list[str] | None, typer.Argument(help="digits, fashion, oracle or all.", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the data sets and their state, and exit.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read and check the files already there; download nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Download even files that are already there.")] = False,
    json: Json = False,
) -> None:
    """Download data sets to this user's cache, check them, and keep them."""
    cache = paths.data_dir(source.data_dir)
    if not names and not (list_ or verify):
        raise UsageError(f"Name the data sets to download: {', '.join(CATALOG)}, or all; --list shows more.")
    if force and (list_ or verify):
        raise UsageError("--list and --verify download nothing, so --force has no meaning with them; leave it out.")
    named = dict.fromkeys(catalog_entry(name) for name in names or () if name != "all")
    entries = list(CATALOG.values()) if not names or "all" in names else list(named)
    failed = 0 if list_ or verify else _download(entries, cache, source.mirror, force)
    documents = [_document(entry, cache) for entry in entries]
    if verify:
        failed = sum(
            document["state"] != "ok" and (bool(names) or document["state"] != "missing") for document in documents
        )
    out = Output(json)
    out.document({"schema": "lrnet.download/1", "data_dir": str(cache), "datasets": documents})
    if list_:
        columns = ("name", "title", "train", "test", "licence", "state")
        out.table(columns, ([document[key] for key in columns] for document in documents), f"Data in {cache}")
    else:
        for document in documents:
            out.line(f"{document['name']}: {document['state']} in {document['folder']}")
            for name, state in document["files"].items():
                if state != "ok":
                    out.line(f"  {name}: {state}")
    if failed:
        raise typer.Exit(1 if failed == len(documents) or verify else 3)


def _download(entries: list[CatalogEntry], cache: Path, mirror: str | None, force: bool) -> int:
    """Download ``entries`` and return how many of them failed."""
    from lrnet_cli.data.download import download

    failed = 0
    with output.LoadBars() as bars:
        for entry in entries:
            try:
                download(entry, cache, mirror=mirror, force=force, on_progress=bars.download, on_message=output.message)
            except DownloadError as error:
                failed += 1
                output.error(*map(str, error.args))
    return failed


def _document(entry: CatalogEntry, cache: Path) -> dict[str, Any]:
    from lrnet_cli.data.download import check_files, overall_state

    files = check_files(entry, cache)
    return {
        "name": entry.name,
        "title": entry.title,
        "classes": len(entry.classes),
        "train": entry.train,
        "test": entry.test,
        "licence": entry.licence,
        "source": entry.source,
        "folder": str(cache / entry.name),
        "state": overall_state(files),
        "files": files,
    }
