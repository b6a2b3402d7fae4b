"""Signals while a series trains."""

import signal
import sys
from pathlib import Path

import pytest

from lrnet_cli.cli.live import live


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_between_two_runs_a_signal_interrupts_at_once(tmp_path: Path) -> None:
    with live() as (reporter, should_stop):
        reporter.start(tmp_path, 1)
        reporter.step(1, 1, 1)
        reporter.end()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        reporter.start(tmp_path, 1)
        reporter.step(1, 1, 1)
        signal.raise_signal(signal.SIGTERM)
        assert should_stop()
