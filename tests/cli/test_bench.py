import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lrnet_cli.cli.bench_works import files_per_second, profile_of, start_up_seconds, timed


def test_the_benchmark_measures_every_variant_against_plain_and_the_matrix_product(
    lrnet: Callable[..., Any],
) -> None:
    command = ("bench", "--image-size", "8", "--batch-size", "4", "--rounds", "1", "--device", "cpu")
    document = json.loads(lrnet(*command, "--json").stdout)
    assert document["schema"] == "lrnet.bench/1"
    variants = [(row["work"], row["form"]) for row in document["rows"]]
    assert sorted(variants) == [("predict", "fused"), ("predict", "plain"), ("train", "fused"), ("train", "plain")]
    for row in document["rows"]:
        assert row["images_per_second"] > 0
        assert row["share_of_matrix_product"] > 0
        if row["form"] == "plain":
            assert row["times_plain_fp32"] == 1
    assert document["input_share_of_fastest_step"].keys() == {"default augmentation", "all of it"}
    table = lrnet(*command).stdout
    assert "of matrix product" in table


def test_a_log_compares_with_the_last_line_of_this_machine(lrnet: Callable[..., Any], tmp_path: Path) -> None:
    log = tmp_path / "bench.jsonl"
    command = ("bench", "--image-size", "8", "--batch-size", "4", "--rounds", "1", "--device", "cpu", "--log", str(log))
    assert "Since" not in lrnet(*command).stdout
    lines = log.read_text().splitlines()
    other = json.loads(lines[0]) | {"device": "another", "date": "1999-01-01"}
    earlier = json.loads(lines[0]) | {"date": "2000-01-01"}
    log.write_text("".join(json.dumps(line) + "\n" for line in (earlier, other)))
    shown = lrnet(*command).stdout
    assert "Since 2000-01-01" in shown
    assert "train fused eager fp32, × plain fp32" in shown
    assert len(log.read_text().splitlines()) == 3
    log.write_text("not a log\n")
    refused = lrnet(*command)
    assert refused.exit_code == 2
    assert "is not a file that lrnet bench wrote" in refused.stderr
    assert log.read_text() == "not a log\n"


def test_an_interrupted_benchmark_shows_the_rounds_that_are_complete(
    lrnet: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("bench", "--image-size", "8", "--batch-size", "4", "--rounds", "3", "--device", "cpu", "--json")
    calls = 0

    def interrupt_at(last: int) -> None:
        nonlocal calls
        calls = 0

        def counted(work: Callable[[], Any], device: torch.device) -> float:
            nonlocal calls
            calls += 1
            if calls == last:
                raise KeyboardInterrupt
            return timed(work, device)

        monkeypatch.setattr("lrnet_cli.cli.bench.timed", counted)

    of_a_round = 7  # four variants, a matrix product and two input pipelines
    interrupt_at(2 * of_a_round + 1)
    stopped = lrnet(*command)
    assert stopped.exit_code == 130
    assert "Interrupted: what follows are medians over 1 of 3 rounds." in stopped.stderr
    document = json.loads(stopped.stdout)
    assert (document["rounds"], len(document["rows"])) == (1, 4)
    interrupt_at(2 * of_a_round)  # within the first round after the one that warms up
    nothing = lrnet(*command)
    assert (nothing.exit_code, nothing.stdout) == (130, "")


@pytest.mark.slow
def test_int8_runs_beside_the_others(lrnet: Callable[..., Any]) -> None:
    command = ("bench", "--image-size", "8", "--batch-size", "4", "--rounds", "1", "--device", "cpu", "--int8")
    rows = json.loads(lrnet(*command, "--json").stdout)["rows"]
    [row] = [row for row in rows if row["precision"] == "int8"]
    assert (row["work"], row["form"], row["share_of_matrix_product"]) == ("predict", "exported", None)
    assert row["times_plain_fp32"] > 0


@pytest.mark.slow
def test_start_up_files_and_operators_are_measured() -> None:
    assert 0.1 < start_up_seconds() < 300
    assert files_per_second(8) > 1
    matrix = torch.rand(300, 300)
    shares = profile_of(partial(torch.matmul, matrix, matrix))
    assert sum(shares.values()) == pytest.approx(1)
    assert "mm" in shares
