import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lrnet_cli import PredictRequest, predict_files
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.errors import UsageError
from lrnet_cli.predict.job import Summary
from lrnet_cli.reporter import Reporter

CliRun = Callable[..., Any]


@pytest.fixture(autouse=True)
def images(isolated_user: Path) -> Path:
    """Write four digits and a damaged file to ``images/``, and work beside them."""
    folder = isolated_user / "images"
    folder.mkdir()
    for number, image in enumerate(load_dataset("optdigits").test.images[:4, 0].numpy()):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "9.png").write_bytes(b"damaged")
    return folder


class Heard(Reporter):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.progress: list[tuple[int, int | None]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def work(self, name: str, done: int, total: int | None) -> None:
        self.progress.append((done, total))


def test_python_gets_the_records_the_file_and_the_messages_of_the_command(
    lrnet: CliRun, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = Heard()
    request = PredictRequest(inputs=("images",), weights=str(trained_run), top_k=2, output=Path("python.csv"))
    with predict_files(request, heard) as job:
        records = list(job)
    assert capsys.readouterr() == ("", "")
    words = f"predict images --weights {trained_run} --top-k 2"
    assert records == json.loads(lrnet(f"{words} --json").stdout)["predictions"]
    command = lrnet(f"{words} --output command.csv")
    assert Path("python.csv").read_bytes() == Path("command.csv").read_bytes()
    assert heard.messages == [line for line in command.stderr.splitlines() if not line.startswith("Error: ")]
    assert heard.progress == [(done, 5) for done in range(6)]
    assert (job.summary.done, job.summary.failed, command.exit_code) == (4, 1, 3)


def test_what_lies_in_a_folder_and_is_no_image_is_counted(images: Path, trained_run: Path) -> None:
    (images / "notes.txt").write_text("crown, lion")
    (images / "notes.md").write_text("ship")
    heard = Heard()
    with predict_files(PredictRequest(inputs=("images",), weights=str(trained_run)), heard) as job:
        assert len(list(job)) == 5
    assert "Left out in folders: 1 .md file, 1 .txt file." in heard.messages


def test_a_job_that_is_left_halfway_is_resumed(trained_run: Path) -> None:
    def request(resume: bool) -> PredictRequest:
        return PredictRequest(
            inputs=("images",), weights=str(trained_run), output=Path("rows.jsonl"), resume=resume, max_novelty=99.0
        )

    with predict_files(request(False)) as job:
        first = next(iter(job))
    assert not Path("rows.jsonl").exists()
    heard = Heard()
    with predict_files(request(True), heard) as job:
        rest = list(job)
    assert [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()] == [first, *rest]
    assert job.summary == Summary(done=4, failed=1)
    assert heard.progress == [(done, 5) for done in range(1, 6)]


def test_the_number_of_paths_on_stdin_is_not_waited_for(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrnet_cli.predict.job.find_inputs", lambda *_: iter([Path("images/0.png")]))
    heard = Heard()
    with predict_files(PredictRequest(inputs=("-",), weights=str(trained_run)), heard) as job:
        assert len(list(job)) == 1
    assert heard.progress == [(0, None), (1, None)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"resume": True}, "^resume resumes an interrupted output; name that file."),
        ({"output": Path("rows.txt")}, "rows.txt: output is written as csv or jsonl"),
        ({"output": Path("rows.csv"), "format": "json"}, "rows.csv: output is written as csv or jsonl"),
        ({"spreadsheet": True, "output": Path("rows.jsonl")}, "spreadsheet is for csv, not for jsonl"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        PredictRequest(inputs=("images",), **settings)


def test_the_suffix_of_the_output_is_the_format_of_its_rows() -> None:
    def form(**settings: Any) -> str | None:
        return PredictRequest(inputs=("images",), **settings).row_format

    assert (form(), form(format="json"), form(format="csv")) == (None, None, "csv")
    assert (form(output=Path("a.JSONL")), form(output=Path("a.csv"), spreadsheet=True)) == ("jsonl", "spreadsheet")
    assert form(output=Path("a.txt"), format="csv") == "csv"


def test_two_predictions_do_not_write_one_file(trained_run: Path) -> None:
    request = PredictRequest(inputs=("images",), weights=str(trained_run), output=Path("rows.csv"), resume=True)
    with predict_files(request) as job:
        next(iter(job))
        with pytest.raises(UsageError, match="another process is writing it"), predict_files(request):
            pass
    with predict_files(request) as job:
        assert len(list(job)) == 4
    assert not Path(".rows.csv.lock").exists()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_that_is_mended_is_tried_again(trained_run: Path, form: str) -> None:
    def predict(*inputs: str) -> list[str]:
        request = PredictRequest(
            inputs=inputs, weights=str(trained_run), output=Path(f"rows.{form}"), resume=Path(f"rows.{form}").exists()
        )
        with predict_files(request) as job:
            assert [record["path"] for record in job if "error" in record] == damaged
        return Path(f"rows.{form}").read_text(encoding="utf-8").splitlines()

    damaged = ["images/9.png"]
    first = predict("images")
    assert len(predict("images")) == len(first)  # it is still damaged, and has one row
    damaged = []
    shutil.copy("images/0.png", "images/new.png")
    added = predict("images/new.png")
    assert sum("9.png" in row for row in added) == 1  # another input leaves its row alone
    shutil.copy("images/1.png", "images/9.png")
    mended = predict("images")
    assert len(mended) == len(first) + 1
    assert "9.png" in mended[-1]
    assert predict("images") == mended


def test_a_file_without_any_row_is_resumed(lrnet: CliRun, trained_run: Path) -> None:
    words = f"predict --weights {trained_run} --output rows.jsonl"
    Path("empty").mkdir()
    assert lrnet(*words.split(), "-", stdin="").exit_code == 0
    assert lrnet(*words.split(), "-", "--resume", stdin="images/0.png\n").exit_code == 0
    assert len(Path("rows.jsonl").read_text().splitlines()) == 1
