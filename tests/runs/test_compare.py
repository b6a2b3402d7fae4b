import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lrnet_cli.errors import TrainingError
from lrnet_cli.runs.compare import Accuracy, compare_runs, find_runs
from lrnet_cli.runs.folder import write_config, write_result
from lrnet_cli.runs.table import as_markdown, narrow_tables
from lrnet_cli.settings.config import TrainConfig

RunWriter = Callable[..., Path]


@pytest.fixture
def a_run(tmp_path: Path) -> RunWriter:
    """Write the folder of a finished run."""
    count = 0

    def write(
        accuracy: float | None, seed: int = 0, *, images: int = 1000, changes: Any = None, **settings: Any
    ) -> Path:
        nonlocal count
        count += 1
        config = TrainConfig(
            **({"dataset": "digits", "arch": "lrnet", "seed": seed, "label_smoothing": 0.05} | settings)
        )
        folder = tmp_path / f"run{count}"
        folder.mkdir()
        write_config(folder, config)
        result = {
            "run_dir": str(folder),
            "weights": str(folder / "model.safetensors"),
            "best_epoch": 2,
            "val_accuracy": 0.9,
            "test_accuracy_ci95": None if accuracy is None else [0.0, 1.0],
            "dataset": config.dataset,
            "seed": seed,
            "epochs": 2,
            "test_accuracy": accuracy,
            "test_images": images,
            "train_images_per_second": 100.0 + seed,
            "test_images_per_second": 300.0,
            "seconds": 60.0,
            "parameters": 1000,
            "multiply_adds": 2_000_000,
            "device": "cpu",
            "status": "finished",
        }
        write_result(folder, result | (changes or {}))
        return folder

    return write


def test_one_run_has_the_interval_of_its_test_images(a_run: RunWriter) -> None:
    (row,) = compare_runs([a_run(0.98)])
    # Wilson's interval of 980 in 1,000, from R's prop.test(980, 1000, correct = FALSE)
    assert row.accuracy.ci95 == pytest.approx((0.96934, 0.98699), abs=1e-4)
    assert (row.accuracy.value, row.accuracy.over, row.published, row.settings) == (0.98, "images", 0.9947, {})


def test_several_seeds_have_students_interval_of_their_mean(a_run: RunWriter) -> None:
    (row,) = compare_runs([a_run(share, seed) for seed, share in enumerate((0.97, 0.98, 0.99))])
    # mean 0.98, standard deviation 0.01, quantile of t with 2 degrees of freedom 4.30265
    assert row.accuracy.value == pytest.approx(0.98)
    assert row.accuracy.ci95 == pytest.approx((0.98 - 0.0248414, 1.0), abs=1e-6)
    assert (row.accuracy.over, row.seeds) == ("seeds", (0, 1, 2))
    assert row.train_images_per_second == 101
    assert row.seconds == 180


def test_folds_are_taken_together(a_run: RunWriter) -> None:
    folds = [a_run(0.5, images=10, folds=2, test_fold=1), a_run(0.9, images=30, folds=2, test_fold=2)]
    (row,) = compare_runs(folds)
    assert row.accuracy.value == pytest.approx((5 + 27) / 40)
    assert (row.accuracy.over, row.folds) == ("images", 2)
    again = [a_run(0.6, 1, images=10, folds=2, test_fold=1), a_run(0.9, 1, images=30, folds=2, test_fold=2)]
    (row,) = compare_runs(folds + again)
    assert row.accuracy.value == pytest.approx((32 / 40 + 33 / 40) / 2)
    assert row.accuracy.over == "seeds"


def test_incomplete_folds_are_refused(a_run: RunWriter) -> None:
    with pytest.raises(TrainingError, match="Of the 3 folds some are missing"):
        compare_runs([a_run(0.5, folds=3, test_fold=1), a_run(0.5, folds=3, test_fold=3)])


def test_recipes_are_told_apart_by_what_differs(a_run: RunWriter) -> None:
    rows = compare_runs(
        [a_run(0.9), a_run(0.95, lr=0.5), a_run(0.8, arch="vgg16"), a_run(0.7, dataset="fashion", limit=6000)]
    )
    assert [(row.dataset, row.arch, row.settings) for row in rows] == [
        ("digits", "lrnet", {"lr": 0.5}),
        ("digits", "lrnet", {"lr": 0.01}),
        ("digits", "vgg16", {}),
        ("fashion", "lrnet", {}),
    ]


def test_two_folders_of_one_name_are_two_data_sets(a_run: RunWriter) -> None:
    runs = [a_run(0.9, dataset=f"/{place}/scans", changes={"dataset": "scans"}) for place in ("boxes", "pages")]
    rows = compare_runs(runs)
    assert [row.settings for row in rows] == [{"source": "/boxes/scans"}, {"source": "/pages/scans"}]
    assert {row.accuracy.over for row in rows} == {"images"}


def test_a_folder_given_twice_counts_once_and_a_copy_is_refused(a_run: RunWriter) -> None:
    run = a_run(0.9)
    (row,) = compare_runs([run, run])
    assert len(row.runs) == 1
    with pytest.raises(TrainingError, match="one run twice"):
        compare_runs([run, a_run(0.9)])


@pytest.mark.parametrize(
    ("accuracy", "changes", "reason"),
    [(None, {}, "--no-test"), (0.9, {"status": "interrupted"}, "is not finished; resume with: lrnet train --resume")],
)
def test_runs_without_a_figure_are_named(a_run: RunWriter, accuracy: Any, changes: Any, reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        compare_runs([a_run(accuracy, changes=changes)])


@pytest.mark.parametrize(
    "changes",
    [
        {"test_images": None},
        {"test_images": 10**400},
        {"seed": "1"},
        {"test_accuracy": [0.9]},
        {"test_accuracy": 2},
        {"test_accuracy": math.nan},
        {"test_accuracy_ci95": None},
        {"seconds": math.inf},
        {"epochs": 0},
        {"multiply_adds": 0.5},
        {"device": {}},
    ],
)
def test_a_damaged_result_is_one_sentence(a_run: RunWriter, changes: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=r"result\.json: is damaged, or was written by another version"):
        compare_runs([a_run(0.9, changes=changes), a_run(0.9, 1)])


def test_runs_are_found_in_a_folder(a_run: RunWriter, tmp_path: Path) -> None:
    first, second = a_run(0.9), a_run(0.8, 1)
    assert find_runs(first) == [first]
    assert find_runs(tmp_path) == [first, second]
    deeper = tmp_path / "series" / "seed-1"
    deeper.parent.mkdir()
    second.rename(deeper)
    told: list[str] = []
    unfinished, untested = a_run(0.7, changes={"status": "interrupted"}), a_run(None)
    assert find_runs(tmp_path, told.append) == [first, deeper]
    assert [str(unfinished) in told[0], str(untested) in told[1]] == [True, True]
    with pytest.raises(TrainingError, match="is not a run folder and holds no finished one"):
        find_runs(tmp_path / "nowhere")


def test_markdown_keeps_its_columns_whatever_a_name_holds(a_run: RunWriter) -> None:
    table = as_markdown(compare_runs([a_run(0.9, dataset="a|b")])).splitlines()
    assert table[2].startswith("| a\\|b | lrnet | 1 seed | 0.9000 |")
    assert {line.replace("\\|", "").count("|") for line in table[:3]} == {13}


def test_the_command_prints_a_table_json_markdown_and_a_chart(
    a_run: RunWriter, lrnet: Callable[..., Any], tmp_path: Path
) -> None:
    runs = [a_run(0.9), a_run(0.8, arch="vgg16")]
    shown = lrnet("compare", *runs, "--plot", tmp_path / "bars.png")
    assert shown.exit_code == 0
    for text in ("0.9000", "0.9240", "2 M", "Published runs had their epoch chosen on the test images"):
        assert text in shown.stdout
    with Image.open(tmp_path / "bars.png") as chart:
        assert min(chart.size) > 100
    document = json.loads(lrnet("compare", *runs, "--json").stdout)
    assert document["schema"] == "lrnet.compare/1"
    assert document["rows"][0]["accuracy"] == {"value": 0.9, "ci95": list(_wilson(900)), "over": "images"}
    assert lrnet("compare", *runs, "--markdown").stdout == as_markdown(compare_runs(runs))
    assert lrnet("compare", *runs, "--markdown", "--json").exit_code == 2
    assert "is not a run folder" in lrnet("compare", tmp_path / "none").stderr
    assert lrnet("compare", runs[0], "--plot", tmp_path / "none" / "x.png").exit_code == 2


def test_a_comparison_is_readable_at_80_columns(a_run: RunWriter, in_terminal: Callable[..., tuple[int, str]]) -> None:
    costs = {"parameters": 14_710_464, "multiply_adds": 313_000_000, "epochs": 7, "seconds": 99.0}
    runs = [a_run(0.9, label_smoothing=0.1, robust=0.5), a_run(0.95), a_run(0.97, 1)]
    runs.append(a_run(0.8, 5, dataset="fashion", arch="inception_v3", changes=costs))
    command = [sys.executable, "-m", "lrnet_cli", "compare", *map(str, runs)]
    code, shown = in_terminal(command, COLUMNS="80")
    shown = re.sub(r"\x1b\[[\d;]*m", "", shown)
    same, *lines = shown.splitlines()
    assert (code, same) == (0, "The same in all rows: test images/s 300")
    assert lines[0] == "#1: label_smoothing 0.05, robust 0.0"
    assert max(map(len, lines[:-1])) <= 80
    assert len(lines) <= 26
    for cell in ("inception_v3", "2 seeds", "0.9000", "0.8000", "0.9947", "14,710,464", "313 M"):
        assert f" {cell} " in shown


def test_no_word_over_a_narrow_table_is_cut(a_run: RunWriter) -> None:
    other = {"parameters": 5, "multiply_adds": 1, "train_images_per_second": 2.0, "test_images_per_second": 3.0}
    runs = [a_run(0.9), a_run(0.8, 5, dataset="fashion", arch="cnn", changes=other | {"epochs": 7, "seconds": 99.0})]
    _, (_, (heads, _)) = narrow_tables(compare_runs(runs))
    words = [word for head in heads for word in head.split()]
    assert len(heads) == 7
    assert max(map(len, words)) <= len("parameters")  # for which each column of seven has room at 80 columns


def _wilson(right: int) -> tuple[float, float]:
    from lrnet_cli.evaluation.intervals import wilson_interval

    return Accuracy(right / 1000, wilson_interval(right, 1000), "images").ci95
