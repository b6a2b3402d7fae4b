from dataclasses import replace
from pathlib import Path

import pytest

from lrnet_cli.runs.folder import read_config, write_config, write_series
from lrnet_cli.settings.config import TrainConfig


@pytest.mark.parametrize(
    ("mirror", "is_kept"),
    [
        ("https://me:s3cr3t@host:8000/data/@v1/", False),
        ("https://s3cr3t@[::1]/data", False),
        ("https://me:s3/cr3t@host/", False),
        ("https://host/data/@v1/", True),
        ("/data/me@home", True),
        (None, True),
    ],
)
def test_settings_are_kept_without_a_mirror_that_holds_credentials(
    tmp_path: Path, mirror: str | None, is_kept: bool
) -> None:
    config = TrainConfig(mirror=mirror)
    write_config(tmp_path, config)
    write_series(tmp_path, config, 2, None)
    assert not [path for path in tmp_path.iterdir() if "cr3t" in path.read_text(encoding="utf-8")]
    assert read_config(tmp_path)[0] == (config if is_kept else replace(config, mirror=None))
