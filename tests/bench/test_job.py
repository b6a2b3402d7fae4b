import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lrnet_cli.bench.works import timed


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

        monkeypatch.setattr("lrnet_cli.bench.job.timed", counted)

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
