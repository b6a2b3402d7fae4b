import pytest
import torch

from lrnet_cli.devices import describe_device, resolve_device
from lrnet_cli.errors import DeviceError, UsageError

needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")


@needs_no_cuda
@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_auto_takes_the_cpu_where_there_is_nothing_better() -> None:
    assert resolve_device() == torch.device("cpu")
    assert describe_device(resolve_device()).startswith("cpu (")


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps")])
def test_auto_takes_cuda_then_mps(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device().type == expected


@needs_no_cuda
@pytest.mark.parametrize(("name", "gpus"), [("cuda", None), ("cuda:3", None), ("auto", 1), ("cuda", 1)])
def test_a_gpu_that_is_not_there_is_an_error_not_a_fallback(name: str, gpus: int | None) -> None:
    with pytest.raises(DeviceError, match=r"is not there: PyTorch .* sees 0 CUDA"):
        resolve_device(name, gpus)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_mps_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="mps is not there"):
        resolve_device("mps")


@pytest.mark.parametrize(
    ("name", "gpus", "reason"),
    [
        ("gpu", None, "'gpu' is not a device"),
        ("meta", None, "'meta' is not supported"),
        ("cpu", 1, "contradict"),
        ("auto", 0, "from 1 up, got 0"),
    ],
)
def test_words_that_make_no_sense_are_wrong_usage(name: str, gpus: int | None, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        resolve_device(name, gpus)
