import pytest
import torch

from lrnet_cli.devices import describe_device, resolve_device
from lrnet_cli.errors import DeviceError, UsageError
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.lrnet import LRNet
from lrnet_cli.settings.place import Place

needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")


@needs_no_cuda
@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_auto_takes_the_cpu_where_there_is_nothing_better() -> None:
    assert resolve_device() == torch.device("cpu")
    assert describe_device(resolve_device()).startswith("cpu (")


@pytest.mark.parametrize(("count", "shown"), [(1, "1 thread, "), (2, "2 threads, ")])
def test_one_thread_is_said_in_the_singular(monkeypatch: pytest.MonkeyPatch, count: int, shown: str) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    assert describe_device(torch.device("cpu")).startswith(f"cpu ({shown}")


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps")])
def test_auto_takes_cuda_then_mps(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device().type == expected


@needs_no_cuda
@pytest.mark.parametrize(("name", "gpus"), [("cuda", None), ("cuda:3", None), ("auto", 1), ("cuda", 1)])
def test_a_gpu_that_is_not_there_is_an_error_not_a_fallback(name: str, gpus: int | None) -> None:
    with pytest.raises(DeviceError, match=r"is not available: PyTorch .* sees 0 CUDA"):
        resolve_device(name, gpus)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_mps_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="mps is not available"):
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


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert Engine.at(Place(device="cpu")).precision == expected
    assert Engine.at(Place(device="cpu", precision="fp32")).precision == "fp32"
    assert Engine.at(Place(device="cpu", precision="bf16")).precision == "bf16"
    assert str(Engine.at(Place(device="cpu"))).endswith(f", {expected}")


def test_each_launched_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert resolve_device("auto", 4) == torch.device("cuda:0")  # no launcher of PyTorch's set it
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert resolve_device("auto", 4) == torch.device("cuda:2")
    assert resolve_device("auto") == torch.device("cuda:2")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="sees 4 CUDA"):
        resolve_device("auto", 5)


def test_bfloat16_computes_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = LRNet(1, 28).eval()
    images = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        exact, near = (Engine(torch.device("cpu"), precision).place(network)(images) for precision in ("fp32", "bf16"))
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    assert torch.allclose(near.softmax(1), exact.softmax(1), atol=0.02)
