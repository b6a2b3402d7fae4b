import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lrnet_cli import threads
from lrnet_cli.data.splits import Split
from lrnet_cli.models.engine import Engine
from lrnet_cli.processes import Processes
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training import batches


@pytest.mark.parametrize(
    ("images", "affordable", "expected"),
    [
        (5400, None, 128),
        (5400, 240_000, 128),
        (5400, 40_000, 64),
        (5400, 20_000, 32),
        (5400, 100, 32),  # smaller steps would be slower
        (600, 100, 16),  # and a small set has small ones anyway
        (54_000, 0, 32),
    ],
)
def test_a_run_that_is_short_of_steps_takes_smaller_ones(images: int, affordable: int | None, expected: int) -> None:
    assert batches.batch_size_of(None, images, 1, affordable) == expected
    assert batches.batch_size_of(100, images, 1, affordable) == 100


class _Agreed(Processes):
    def agree(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize("count", [200, 48])
def test_the_pace_tells_how_many_images_the_time_allows(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    split = Split(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))
    readings = itertools.accumulate([0.0, 60.0, 0.0, 2.0, 0.0, 2.0])  # a slow first step, and two of two seconds
    monkeypatch.setattr(threads.time, "perf_counter", lambda: next(readings))
    monkeypatch.setattr(batches, "candidates", lambda: (1,))
    before = torch.random.get_rng_state()
    config = TrainConfig(max_time=400.0, arch="lrnet", normalize="none")
    data = SimpleNamespace(train=split, dataset=SimpleNamespace(classes=tuple("abcd")), paces={})
    found = batches.affordable_images(config, Engine(torch.device("cpu")), data, _Agreed(count=3))  # type: ignore[arg-type]
    assert found == 400 * 0.75 / 2 * min(count, 64) * 3
    again = batches.images_per_second(config, Engine(torch.device("cpu")), data, _Agreed(count=3))  # type: ignore[arg-type]
    assert again == min(count, 64) * 3 / 2  # without another reading of the clock
    assert torch.equal(torch.random.get_rng_state(), before)
