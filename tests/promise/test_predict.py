import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrnet_cli import Classifier, PredictRequest, predict_files
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import UsageError
from lrnet_cli.predict.classifier import UNKNOWN
from lrnet_cli.weights.file import load_weights, save_weights

CliRun = Callable[..., Any]
IMAGES = 60


@pytest.fixture(autouse=True)
def images(isolated_user: Path) -> Path:
    folder = isolated_user / "images"
    folder.mkdir()
    for number, image in enumerate(load_dataset("optdigits").test.images[:IMAGES, 0].numpy()):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    (folder / "99.png").write_bytes(b"damaged")
    return folder


def labels_of(path: str) -> dict[str, str]:
    with Path(path).open(encoding="utf-8") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def test_a_promise_accepts_the_surest_and_leaves_the_rest_unknown(lrnet: CliRun, trained_run: Path) -> None:
    result = lrnet(f"predict images --weights {trained_run} --max-error 0.1 --json")
    assert result.exit_code == 3  # one image is damaged
    document = json.loads(result.stdout)
    promise, predictions = document["promise"], document["predictions"]
    assert (promise["images"], len(predictions)) == (IMAGES, IMAGES + 1)
    accepted = [row for row in predictions if row.get("index") is not None]
    assert 0 < promise["accepted"] == len(accepted) < IMAGES + 1
    assert all("seen" not in row for row in predictions)
    assert all(row["label"] == UNKNOWN for row in predictions if "error" not in row and row["index"] is None)
    assert "Promise: with 95% confidence, at most 10% of the accepted labels are wrong" in result.stderr
    assert promise["expected_accuracy"] == pytest.approx(np.mean([row["probability"] for row in accepted]))


def test_files_tables_and_python_say_the_same(lrnet: CliRun, trained_run: Path) -> None:
    words = f"predict images --weights {trained_run} --max-error 0.1"
    document = json.loads(lrnet(f"{words} --json").stdout)
    expected = {row["path"]: row.get("label", "") for row in document["predictions"]}
    lrnet(f"{words} --output labels.csv")
    assert labels_of("labels.csv") == expected
    lrnet(f"{words} --output labels.jsonl")
    lines = [json.loads(line) for line in Path("labels.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == document["predictions"]
    assert not list(Path().glob("*.part"))
    stack = [path for path in expected if "99" not in path]
    found = Classifier.load(trained_run).accept(stack, max_error=0.1)
    assert [answer.label for answer in found.predictions] == [expected[path] for path in stack]
    assert found.outcome.accepted == document["promise"]["accepted"]


def test_an_interrupted_promise_is_resumed_to_the_same_labels(lrnet: CliRun, trained_run: Path) -> None:
    words = f"predict images --weights {trained_run} --max-error 0.1 --format csv"
    lrnet(f"{words} --output whole.csv")
    request = PredictRequest(
        inputs=("images",), weights=str(trained_run), output=Path("rows.csv"), format="csv", max_error=0.1
    )
    with predict_files(request) as job:
        rows = job.rows
        assert rows is not None
        for number, record in zip(range(20), job._predicted(rows), strict=False):
            assert "seen" in record, number
    assert not Path("rows.csv").exists()
    assert lrnet(f"{words} --output rows.csv").exit_code == 2
    resumed = lrnet(f"{words} --output rows.csv --resume")
    assert resumed.exit_code == 3
    assert labels_of("rows.csv") == labels_of("whole.csv")
    complete = Path("rows.csv").read_bytes()
    again = lrnet(f"{words} --output rows.csv --resume")
    assert "already has a row for each input" in again.stderr
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("images/98.png")
    refused = lrnet(f"{words} --output rows.csv --resume")
    assert (refused.exit_code, "predict further images into another file" in refused.stderr) == (2, True)
    assert Path("rows.csv").read_bytes() == complete


def test_a_set_of_labels_is_in_every_format(lrnet: CliRun, trained_run: Path) -> None:
    words = f"predict images --weights {trained_run} --label-set 0.9"
    sets = [row.get("label_set") for row in json.loads(lrnet(f"{words} --json").stdout)["predictions"]]
    classes = load_weights(trained_run / "model.safetensors")[1].classes
    assert sets[-1] is None
    assert all(found and set(found) <= set(classes) for found in sets[:-1])
    rows = list(csv.DictReader(lrnet(f"{words} --format csv").stdout.splitlines()))
    assert [json.loads(row["label_set"]) if row["label_set"] else None for row in rows] == sets
    lines = lrnet(f"{words} --format jsonl").stdout.splitlines()
    assert [json.loads(line).get("label_set") for line in lines] == sets
    assert "label set" in lrnet(words).stdout
    classifier = Classifier.load(trained_run)
    assert list(classifier.label_set(classifier.predict("images/00.png"), 0.9)) == sets[0]


def test_what_cannot_be_promised_is_refused_with_the_number_that_would_do(lrnet: CliRun, trained_run: Path) -> None:
    refused = lrnet(f"predict images --weights {trained_run} --max-error 0.001")
    assert refused.exit_code == 2
    assert "too few to promise --max-error 0.001 with 95% confidence: it needs 2995 accepted ones" in refused.stderr
    sets = lrnet(f"predict images --weights {trained_run} --label-set 0.9999")
    assert (sets.exit_code, "--label-set 0.9999 needs 9999 validation images" in sets.stderr) == (2, True)
    for more in ("--by-class", "--confidence 0.9", "--max-error 0.1 --min-confidence 0.5"):
        assert lrnet(f"predict images --weights {trained_run} {more}").exit_code == 2


def test_weights_of_earlier_versions_say_that_they_cannot_promise(lrnet: CliRun, trained_run: Path) -> None:
    model, card = load_weights(trained_run / "model.safetensors")
    save_weights(Path("old.safetensors"), model, replace(card, evidence=None))
    for option in ("--max-error 0.1", "--label-set 0.9"):
        refused = lrnet(f"predict images --weights old.safetensors {option}")
        assert (refused.exit_code, "holds no answers for validation images" in refused.stderr) == (2, True)


def test_foreign_images_raise_the_warning(lrnet: CliRun, trained_run: Path) -> None:
    words = f"--weights {trained_run} --max-error 0.1 --json"
    known = json.loads(lrnet(f"predict images {words}").stdout)["promise"]["differences"]
    assert all(one["p_value"] > 1e-5 for one in known)  # sixty images may differ by chance, on some machine
    Path("noise").mkdir()
    for number in range(60):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(noise).save(f"noise/{number}.png")
    warned = lrnet(f"predict noise {words}")
    assert "Do not trust this promise without an audit" in warned.stderr
    assert json.loads(warned.stdout)["promise"]["differences"][0]["p_value"] < 1e-9


def test_an_audit_knows_what_was_promised_of_the_labels(lrnet: CliRun, trained_run: Path) -> None:
    lrnet(f"predict images --weights {trained_run} --max-error 0.2 --output labels.csv")
    lrnet("audit labels.csv")
    with Path("labels-audit.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    halves = [row["label"] if number % 2 else "" for number, row in enumerate(rows)]
    listed = [(row["file_name"], half, "yes", row["label"]) for row, half in zip(rows, halves, strict=True)]
    with Path("reviewed.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "label", "reviewed", "previous"), *listed])
    words = "audit labels.csv --answers reviewed.csv"
    broken = lrnet(words)
    assert (broken.exit_code, "contradicts the promised error of 20%" in broken.stdout) == (3, True)
    assert lrnet(f"{words} --max-error 0.9").exit_code == 0
    Path(".labels.csv.lrnet").unlink()
    assert "promised" not in lrnet(words).stdout


def test_a_stack_that_is_small_is_said_to_be_promised_nothing_of_its_own(lrnet: CliRun, trained_run: Path) -> None:
    words = f"predict images --weights {trained_run} --json --max-error"
    small = lrnet(f"{words} 0.1")
    assert "These are fewer than 100 images" in small.stderr
    assert not json.loads(small.stdout)["promise"]["thresholds"][0]["is_of_stack"]
    large = lrnet(f"{words} 0.4")
    assert "fewer than" not in large.stderr
    assert json.loads(large.stdout)["promise"]["thresholds"][0]["is_of_stack"]


def test_an_audit_draws_accepted_labels_and_reads_the_answers_back(lrnet: CliRun) -> None:
    rows = [(f"{number}.png", *(("seven", 7) if number % 10 else ("unknown", ""))) for number in range(1000)]
    with Path("labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "index"), *rows])
    refused = lrnet("audit labels.csv")
    assert (refused.exit_code, "run this where lrnet predict was run" in refused.stderr) == (2, True)
    for name, *_ in rows:
        Path(name).touch()
    drawn = lrnet("audit labels.csv --n 300 --seed 1")
    assert (drawn.exit_code, "300 of 900 accepted labels" in drawn.stdout) == (0, True)
    assert lrnet("audit labels.csv").exit_code == 2  # answers are never overwritten
    with Path("labels-audit.csv").open(encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert {row["label"] for row in listed} == {"seven"}
    assert len({row["file_name"] for row in listed}) == 300

    def reviewed(wrong: int, checked: int = 300, *, in_full: bool = False) -> None:
        with Path("reviewed.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("file_name", "label", "reviewed", "previous"))
            for number, row in enumerate(listed):
                label = "" if number < wrong else "seven"
                name = Path(row["file_name"]).absolute() if in_full else row["file_name"]
                table.writerow((name, label, "yes" if number < checked else "", "seven"))

    words = "audit labels.csv --answers reviewed.csv --max-error 0.02"
    reviewed(5)
    kept = lrnet(words)
    assert (kept.exit_code, "does not contradict the promised error of 2%" in kept.stdout) == (0, True)
    reviewed(5, in_full=True)  # as a review page saves them
    assert lrnet(words).stdout == kept.stdout
    for drawing, option in (("--seed 1", "--seed"), ("--n 20", "--n"), ("--output new.csv", "--output")):
        refused = lrnet(f"{words} {drawing}")
        assert (refused.exit_code, f"{option} is for a new draw" in refused.stderr) == (2, True)
    reviewed(30, checked=290)
    broken = lrnet(f"{words} --json")
    document = json.loads(broken.stdout)
    assert (broken.exit_code, document["is_broken"], document["unchecked"]) == (3, True, 10)
    assert document["low"] < 30 / 290 < document["high"]
    reviewed(0, checked=0)
    assert lrnet(words).exit_code == 2


def test_an_audit_is_of_the_networks_labels_wherever_they_lie(lrnet: CliRun) -> None:
    Path("out").mkdir()
    rows = [(f"{n}.png", "unknown" if n % 2 else "a", n % 2, "yes" if n < 40 else "") for n in range(60)]
    with Path("out/labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "index", "reviewed"), *rows])
    for name, *_ in rows:
        Path(name).touch()
    drawn = lrnet("audit out/labels.csv --n 50")
    assert "20 of 20 accepted labels" in drawn.stdout  # a class may be called unknown
    with Path("out/labels-audit.csv").open(encoding="utf-8") as file:
        names = [row["file_name"] for row in csv.DictReader(file)]
    assert set(names) == {str(Path(f"{n}.png").resolve()) for n in range(40, 60)}
    answers = [(name, "a", ("Yes", "true", "1")[n % 3], "unknown" if n % 2 else "a") for n, name in enumerate(names)]
    with Path("answers.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "label", "reviewed", "previous"), *answers])
    assert "10 of 20 checked labels are wrong" in lrnet("audit out/labels.csv --answers answers.csv").stdout
    Path("elsewhere").mkdir()
    for path in [*Path().glob("*.png"), Path("out/labels.csv"), Path("answers.csv")]:
        path.rename("elsewhere" / Path(path.name))  # files beside a list are found from everywhere
    moved = Path("elsewhere/answers.csv").read_text().replace(str(Path.cwd()), str(Path.cwd() / "elsewhere"))
    Path("elsewhere/answers.csv").write_text(moved, encoding="utf-8")
    words = "audit elsewhere/labels.csv --answers elsewhere/answers.csv"
    assert "10 of 20 checked labels are wrong" in lrnet(words).stdout


def test_a_promise_counts_no_answer_of_a_person(lrnet: CliRun, trained_run: Path) -> None:
    with Path("answers.csv").open("w", encoding="utf-8", newline="") as file:
        names = [str(path.resolve()) for path in sorted(Path("images").iterdir())]
        rows = [(name, "7", "yes", "1") for name in names]
        csv.writer(file).writerows([("file_name", "label", "reviewed", "previous"), *rows])
    told = lrnet(f"predict images --weights {trained_run} --max-error 0.2 --merge answers.csv --output merged.csv")
    assert "0 of 0 labels are accepted" in told.stderr
    assert "60 of the labels are answers of a person." in told.stderr  # one cannot be read


@pytest.mark.parametrize("content", ["", "path,label,index\n", "a,b\n1,2\n"])
def test_what_is_no_file_of_labels_is_refused(lrnet: CliRun, content: str) -> None:
    Path("labels.csv").write_text(content, encoding="utf-8")
    assert lrnet("audit labels.csv").exit_code == 2


def test_folds_promise_from_what_each_network_did_not_see(lrnet: CliRun) -> None:
    trained = lrnet("train --epochs 1 --limit 500 --folds 2 --seed 1 --out folds")
    assert trained.exit_code == 0, trained.stderr
    _, card = load_weights(Path("folds"))
    assert card.evidence is not None
    assert (card.evidence.origin, len(card.evidence)) == ("out-of-fold", 1797)
    told = lrnet("predict images --weights folds --max-error 0.4")
    assert "images of a cross-validation, each answered by a network that did not see it" in told.stderr
    with pytest.raises(UsageError):
        Classifier.load("folds").least_odds(0.9999)
