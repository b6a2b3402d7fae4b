"""``lrnet info``."""

from lrnet_cli import paths
from lrnet_cli.cli import output
from lrnet_cli.cli.options import DataDir, Json
from lrnet_cli.data.catalog import CATALOG, EMBEDDED


def info_command(data_dir: DataDir = None, json: Json = False) -> None:
    """Show versions, the device, folders, and the data sets and weights that are there."""
    from lrnet_cli.data.download import check_files, overall_state
    from lrnet_cli.devices import describe_device, resolve_device
    from lrnet_cli.training.run import versions

    cache, newest = paths.data_dir(data_dir), paths.newest_run()
    states = {name: overall_state(check_files(entry, cache)) for name, entry in CATALOG.items()}
    document = {
        "schema": "lrnet.info/1",
        "versions": versions(),
        "device": describe_device(resolve_device()),
        "data_dir": str(cache),
        "state_dir": str(paths.state_dir()),
        "datasets": {EMBEDDED: "embedded"} | states,
        "weights": str(newest) if newest else None,
    }
    if json:
        output.print_json(document)
        return
    for key, value in document.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        if key != "schema":
            print(f"{key:<10} {shown or 'none'}")
