"""``lrnet download``."""

from typing import Annotated, Any

import typer

from lrnet_cli import paths
from lrnet_cli.cli import output
from lrnet_cli.cli.options import DataDir, Json, Mirror
from lrnet_cli.data.catalog import CATALOG, catalog_entry
from lrnet_cli.errors import DownloadError, UsageError


def download_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="digits, fashion, oracle or all.", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the data sets and what is there, and exit.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read and check what is there; download nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is already there.")] = False,
    mirror: Mirror = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Download data sets to this user's cache, check them, and keep them."""
    from lrnet_cli.data.download import check_files, download, overall_state

    cache = paths.data_dir(data_dir)
    if not names and not (list_ or verify):
        raise UsageError(f"Name the data sets to download: {', '.join(CATALOG)}, or all; --list shows more.")
    wanted = CATALOG.values() if not names or "all" in names else {catalog_entry(name): None for name in names}
    failed = 0
    documents: list[dict[str, Any]] = []
    if not (list_ or verify):
        bars = output.DownloadBars()
        with bars.display:
            for entry in wanted:
                try:
                    download(
                        entry, cache, mirror=mirror, force=force, on_progress=bars.update, on_message=output.message
                    )
                except DownloadError as error:
                    failed += 1
                    output.error(str(error))
    for entry in wanted:
        files = check_files(entry, cache)
        state = overall_state(files)
        if verify and state != "ok" and (names or state != "missing"):
            failed += 1
        documents.append(
            {
                "name": entry.name,
                "title": entry.title,
                "classes": len(entry.classes),
                "train": entry.train,
                "test": entry.test,
                "licence": entry.licence,
                "source": entry.source,
                "folder": str(cache / entry.name),
                "state": state,
                "files": files,
            }
        )
    if json:
        output.print_json({"schema": "lrnet.download/1", "data_dir": str(cache), "datasets": documents})
    elif list_:
        columns = ("name", "title", "train", "test", "licence", "state")
        output.print_table(columns, ([document[key] for key in columns] for document in documents), f"Data in {cache}")
    else:
        for document in documents:
            print(f"{document['name']}: {document['state']} in {document['folder']}")
            for name, found in document["files"].items():
                if found != "ok":
                    print(f"  {name}: {found}")
    if failed:
        raise typer.Exit(1 if failed == len(documents) or verify else 3)
