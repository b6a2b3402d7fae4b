import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CliRun = Callable[..., Any]


def test_list_shows_every_data_set_and_its_state(lrnet: CliRun) -> None:
    result = lrnet("download --list")
    assert result.exit_code == 0
    for word in ("digits", "fashion", "oracle", "MNIST handwritten digits", "60000", "missing"):
        assert word in result.stdout


def test_two_names_arrive_from_a_mirror_folder_and_verify(lrnet: CliRun, shared_data: Path) -> None:
    result = lrnet("download", "digits", "fashion", "--mirror", shared_data, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [(entry["name"], entry["state"]) for entry in document["datasets"]] == [("digits", "ok"), ("fashion", "ok")]
    assert lrnet("download --verify digits").exit_code == 0
    labels = Path(document["datasets"][0]["folder"]) / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    damaged = lrnet("download --verify")
    assert damaged.exit_code == 1
    assert "t10k-labels-idx1-ubyte: has 10007 of 10008 bytes" in damaged.stdout
    assert lrnet("download", "digits", "--mirror", shared_data).exit_code == 0
    assert lrnet("download --verify").exit_code == 0


def test_what_can_be_had_is_had_and_the_exit_code_says_some_failed(lrnet: CliRun, shared_data: Path) -> None:
    result = lrnet("download", "digits", "oracle", "--mirror", shared_data)
    assert result.exit_code == 3
    assert "train-images-idx3-ubyte.gz" in result.stderr
    assert "digits: ok" in result.stdout
    assert "train-images-idx3-ubyte: missing" in result.stdout


def test_training_on_oracle_without_its_images_says_how_to_provide_them(lrnet: CliRun, shared_data: Path) -> None:
    result = lrnet("train", "--dataset", "oracle", "--mirror", shared_data)
    assert result.exit_code == 1
    for words in ("train-images-idx3-ubyte.gz", str(shared_data / "oracle"), "put the file into", "--mirror"):
        assert words in result.stderr


@pytest.mark.parametrize("names", ["digits", "all"])
def test_a_data_set_that_is_not_there_does_not_verify(lrnet: CliRun, names: str) -> None:
    assert lrnet(f"download --verify {names}").exit_code == 1


def test_verifying_nothing_is_no_failure(lrnet: CliRun) -> None:
    assert lrnet("download --verify").exit_code == 0


def test_what_could_not_be_obtained_is_told_in_lines(lrnet: CliRun, tmp_path: Path) -> None:
    failed = lrnet("download", "digits", "--mirror", tmp_path / "nowhere")
    assert failed.exit_code == 1
    lines = failed.stderr.splitlines()
    assert "Error: digits: 4 of 4 files could not be obtained:" in lines
    assert "  train-images-idx3-ubyte.gz" in lines
    assert lines[-1].startswith("Unset LRNET_OFFLINE, name another source with --mirror, or put the file into ")
