import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before PyTorch is loaded. Tests compare runs bit for bit, and several run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from filelock import FileLock
from typer.testing import CliRunner

from lrnet_cli.cli.app import app
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.threads import fix_threads
from lrnet_cli.training.train import train

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# What would change the output, or let a test reach this user's own folders or the network.
CLEARED = ("CLICOLOR_FORCE", "FORCE_COLOR", "GITHUB_ACTIONS", "LRNET_DEBUG", "LRNET_MIRROR", "NO_COLOR", "PY_COLORS")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reads real data sets or opens a browser as slow."""
    for item in items:
        if {"shared_data", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def isolated_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own folders, an own working folder, and no network."""
    home = tmp_path_factory.mktemp("home")
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LRNET_DATA_DIR", str(home / "data"))
    monkeypatch.setenv("LRNET_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("LRNET_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def free_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fix no number of threads in a test, and leave that of this process as it was."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    fix_threads(None)
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lrnet() -> Callable[..., Any]:
    """Run ``lrnet`` with a command line, or with words, in this process; gives exit_code, stdout and stderr."""

    def run(*words: object, stdin: str | None = None) -> Any:
        arguments = shlex.split(str(words[0])) if len(words) == 1 else [str(word) for word in words]
        result = CliRunner().invoke(app, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give a function that returns the run folder of a training with some settings, made once for the whole session."""
    # Where tests run in several processes, their temporary folders have one parent.
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared

    def finish(name: str, **settings: Any) -> Path:
        folder = shared / f"finished-{name}"
        with FileLock(f"{folder}.lock"), pytest.MonkeyPatch.context() as patch:
            patch.setenv("LRNET_STATE_DIR", f"{folder}-state")
            if not (folder / "result.json").exists():
                train(TrainConfig(out=folder, **settings))
        return folder

    return finish


@pytest.fixture(scope="session")
def trained_run(finished_run: Callable[..., Path]) -> Path:
    """Give the run folder of a short training on the embedded data set; tests only read it."""
    return finished_run("trained", epochs=4, seed=1)


@pytest.fixture(scope="session")
def stop_after() -> Callable[[int], tuple[Reporter, Callable[[], bool]]]:
    """Give a function that returns what ``train`` needs to stop after so many steps: its reporter and should_stop."""

    def stop(steps: int) -> tuple[Reporter, Callable[[], bool]]:
        class Counter(Reporter):
            taken = 0

            def step(self, epoch: int, done: int, total: int) -> None:
                self.taken += 1

        counter = Counter()
        return counter, lambda: counter.taken >= steps

    return stop


@pytest.fixture
def in_terminal() -> Callable[..., tuple[int, str]]:
    """Run a command with stdout and stderr on a pseudo-terminal; gives its exit code and what was shown."""
    if sys.platform == "win32":
        pytest.skip("pseudo-terminals are a Unix thing")
    import pty

    def run(command: list[str], **environment: str) -> tuple[int, str]:
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            command, stdout=follower, stderr=follower, env=dict(os.environ) | {"TERM": "xterm"} | environment
        )
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # which says that the other end was closed
            while piece := os.read(leader, 4096):
                shown += piece
        os.close(leader)
        return process.wait(), shown.decode()

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a real Chromium, where there is one."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def shared_data() -> Path:
    """Give the folder of real data sets, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real data sets beside this checkout (../shared/data)")
    return SHARED_DATA


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give a real file system of the size in the test's indirect parameter."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = sys.platform == "linux" and os.geteuid() == 0
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(disk)]
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
