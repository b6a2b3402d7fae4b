import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrnet_cli import __version__

CliRun = Callable[..., Any]


def test_version_is_the_packages(lrnet: CliRun) -> None:
    result = lrnet("--version")
    assert (result.exit_code, result.stdout) == (0, f"lrnet {__version__}\n")


def test_python_m_is_the_command() -> None:
    command = [sys.executable, "-m", "lrnet_cli", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"lrnet {__version__}\n"


@pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["eval"], ["download"], ["info"]])
def test_help_imports_no_torch(command: list[str]) -> None:
    script = f"""
import sys
from lrnet_cli.cli.app import app
try:
    app({[*command, "--help"]!r})
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"torch", "numpy", "PIL", "sklearn", "scipy", "matplotlib", "requests"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_prediction_imports_neither_plots_nor_metrics(trained_run: Any, tmp_path: Any) -> None:
    script = f"""
import sys
from lrnet_cli.cli.app import app
from PIL import Image
Image.new("L", (8, 8)).save({str(tmp_path / "a.png")!r})
try:
    app(["predict", {str(tmp_path / "a.png")!r}, "--weights", {str(trained_run)!r}])
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {{"torch._dynamo", "torchvision", "sklearn", "scipy", "matplotlib", "requests"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("line", "exit_code", "sentence"),
    [
        ("train --dataset nowhere", 2, "There is no data set 'nowhere'"),
        ("train --epochs 0", 2, "--epochs takes a whole number from 1 up"),
        ("train --device tpu", 2, "'tpu' is not a device"),
        ("train --preset best", 2, "--preset takes default, paper or quick, got 'best'."),
        ("train --arch lernet", 2, "Did you mean lrnet?"),
        ("train --epochs ten", 2, "Error: --epochs takes a whole number from 1 up, got 'ten'."),
        ("train --robust much", 2, "Error: --robust takes a share from 0 to 1 or auto, got 'much'."),
        ("train --runs 1.5", 2, "Error: --runs takes a whole number from 1 up, got '1.5'."),
        ("train --channels two", 2, "Error: --channels takes 1 or 3, got 'two'."),
        ("eval --weights nowhere", 2, "nowhere: there is no such weight file or run folder"),
        ("eval --limit 0", 2, "--limit takes"),
        ("predict a.png --weights nowhere", 2, "no released network of that name (digits, fashion, fashion-clean)"),
        ("compare nowhere", 2, "nowhere: is not a run folder and holds no finished one"),
        ("info --arch lrnet --image-size 4", 2, "at least 8 pixels per side"),
        ("info --arch lrnet --weights digits", 2, "choose one"),
        ("train --arch vgg16 --procs 2", 2, "--arch vgg16 trains in one process"),
        ("train --folds 1", 2, "--folds takes a whole number from 2 up"),
        ("predict a.png --top-k 0", 2, "--top-k takes"),
        ("predict a.png --json --format csv", 2, "--json means --format json, which contradicts --format csv"),
        ("info --image-size 8", 2, "--image-size, --channels and --classes are for the network of --arch"),
        ("compare runs --json --markdown", 2, "choose one"),
        ("download", 2, "Name the data sets to download"),
        ("download cifar", 2, "There is no data set 'cifar' to download"),
        ("download optdigits", 2, "needs no download"),
        ("bench --rounds 0", 2, "--rounds takes a whole number from 1 up, got 0"),
        ("info --arch lrnet --channels 2", 2, "--channels takes 1 or 3, got 2"),
        ("download --list --force", 2, "--force has no meaning with them"),
        ("train --dataset minst", 2, "Did you mean mnist?"),
        ("train --resume nowhere", 2, "nowhere/config.json: No such file or directory; give the folder of a run"),
        (f"train --out {Path(__file__).parent.as_posix()}", 2, "the folder is not empty"),
        ("download fashoin", 2, "Did you mean fashion?"),
        ("eval --weights digts", 2, "Did you mean digits?"),
        ("fly", 2, "No such command 'fly'"),
    ],
)
def test_wrong_input_gets_a_sentence_and_an_exit_code(lrnet: CliRun, line: str, exit_code: int, sentence: str) -> None:
    result = lrnet(line)
    assert result.exit_code == exit_code
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_batch_system_s_ranks_silence_nothing(monkeypatch: pytest.MonkeyPatch, lrnet: CliRun) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "3")
    result = lrnet("predict a.png --top-k 0")
    assert (result.exit_code, "--top-k takes" in result.stderr) == (2, True)


def test_debug_mode_shows_the_traceback_too(lrnet: CliRun, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lrnet("eval --weights nowhere")
    monkeypatch.setenv("LRNET_DEBUG", "1")
    debug = lrnet("eval --weights nowhere")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert (debug.exit_code, debug.stderr.endswith(plain.stderr)) == (plain.exit_code, True)


_RED = re.compile(r"\x1b\[[0-9;]*31m")


def test_no_color_is_honoured_on_a_terminal(in_terminal: Callable[..., tuple[int, str]]) -> None:
    command = [sys.executable, "-m", "lrnet_cli", "train", "--epochs", "0"]
    (code, coloured), (_, plain) = in_terminal(command), in_terminal(command, NO_COLOR="1")
    assert code == 2
    assert _RED.search(coloured)
    assert not _RED.search(plain)
    assert "--epochs takes" in plain


def test_a_pipe_gets_no_escapes() -> None:
    command = [sys.executable, "-m", "lrnet_cli", "train", "--epochs", "0"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert ("--epochs takes" in shown, "\x1b" in shown) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--procs", "2"]], ids=["one process", "two"])
def test_nothing_in_the_working_folder_is_imported(isolated_user: Path, more: list[str]) -> None:
    for name in ("json", "lrnet_cli", "numpy", "PIL", "rich", "sitecustomize", "torch", "typer"):
        Path(f"{name}.py").write_text("import os\nos._exit(9)\n", encoding="utf-8")
    # -P leaves the working folder out, as the installed script does; the processes that it starts must do so too.
    command = [sys.executable, "-P", "-m", "lrnet_cli", "train", "--epochs", "1", "--limit", "60", "--no-test", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, list(Path().glob("runs/*/model.safetensors")) != []) == (0, True), done.stderr


def test_info_tells_versions_device_paths_data_and_weights(lrnet: CliRun, trained_run: Any) -> None:
    document = json.loads(lrnet("info --json").stdout)
    assert document["schema"] == "lrnet.info/1"
    assert document["datasets"] == {
        "optdigits": "embedded",
        "digits": "missing",
        "fashion": "missing",
        "oracle": "missing",
    }
    assert document["weights"] is None
    text = lrnet("info").stdout
    assert __version__ in text
    assert document["data_dir"] in text
