"""How files get into folders that others may write to as well."""

import os
from pathlib import Path

import pytest

from lrnet_cli.paths import is_leftover, newest_run, replacing, write_text


def test_a_temporary_file_is_new_has_its_own_name_and_is_gone_afterwards(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with replacing(tmp_path / "a.txt") as temporary:
            names.add(temporary.name)
            assert temporary.parent == tmp_path
            assert is_leftover(temporary)
            temporary.write_text("new")
    assert len(names) == 2
    assert not any(str(os.getpid()) == part for name in names for part in name.split("."))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="makes a link")
def test_a_link_in_the_way_of_a_temporary_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "victim").write_text("old")
    monkeypatch.setattr("secrets.token_hex", lambda count: "guessed")
    (tmp_path / "a.txt.guessed.lrnet.tmp").symlink_to("victim")
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "victim").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="has no umask")
def test_a_written_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_file_with_the_longest_name_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_file_in_place_of_the_state_folder_holds_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LRNET_STATE_DIR", str(tmp_path / "file"))
    assert newest_run() is None
