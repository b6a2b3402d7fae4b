"""Checkpoints: safetensors with every tensor of a run and, as JSON, its position and rows.

The newest is ``checkpoint/latest.safetensors``, the one before ``checkpoint/previous.safetensors``. Each is written
under another name and moved into place, so that a kill at any moment leaves a complete one, and holds a digest of its
content, so that a flipped bit is noticed.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any

import torch
from filelock import FileLock, Timeout
from msgspec import Meta
from safetensors import SafetensorError
from torch import Tensor

from lrnet_cli import paths, ranks
from lrnet_cli.documents import parsed, shaped
from lrnet_cli.errors import TrainingError, reason_of
from lrnet_cli.reporter import EpochRow, OnMessage
from lrnet_cli.training.state import TrainingState
from lrnet_cli.weights.digest import sealed, unsealed

FORMAT = "lrnet-checkpoint/2"
CHECKPOINT_SECONDS = 180.0  # between checkpoints within an epoch
_LATEST, _PREVIOUS = "latest.safetensors", "previous.safetensors"
_LOCK = ".lock"
LESSON_NAME = "unlabelled.safetensors"  # what images without labels teach the run
# The folder of what is trained before the run's own network, and these, which are kept until that has a checkpoint.
TRIALS_NAME, TRIALS = "trials", ("first", "second")


_Count = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True)
class _Position:
    """What a checkpoint holds besides tensors; ``content_sha256`` is that of the data."""

    format: str
    content_sha256: str
    epoch: Annotated[int, Meta(ge=1)]
    step: _Count
    taken: _Count
    seconds: Annotated[float, Meta(ge=0)]
    elapsed: Annotated[float, Meta(ge=0)]
    compiled: bool | None
    rows: list[EpochRow]
    moved: bool
    threads: list[tuple[int, int]]


# The fields of a position that are the state's, by their names there.
_OF_STATE = {"epoch": "epoch", "step": "step", "taken": "steps_taken", "seconds": "seconds", "elapsed": "elapsed"}
_OF_STATE |= {name: name for name in ("compiled", "rows", "moved", "threads")}


def save_checkpoint(run_dir: Path, state: TrainingState, content_sha256: str) -> None:
    """Write ``state`` of a run on data with the hash ``content_sha256``; the last checkpoint becomes the previous."""
    folder = run_dir / "checkpoint"
    kept = {field: getattr(state, own) for field, own in _OF_STATE.items()}
    position = _Position(format=FORMAT, content_sha256=content_sha256, **kept)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(state).items()}
    metadata = {"position": json.dumps(asdict(position))}
    with paths.replacing(folder / _LATEST) as temporary:
        temporary.write_bytes(sealed(tensors, metadata))
        if (folder / _LATEST).exists():
            (folder / _LATEST).replace(folder / _PREVIOUS)


def load_checkpoint(run_dir: Path, state: TrainingState, content_sha256: str, on_message: OnMessage) -> bool:
    """Bring ``state``, fresh from the same settings, to the newest complete checkpoint; return whether there is one.

    A damaged checkpoint is reported, and the previous one is used. Raises ``TrainingError`` if all are damaged, or if
    the data have changed.
    """
    damaged = []
    for name in (_LATEST, _PREVIOUS):
        path = run_dir / "checkpoint" / name
        if not path.exists():
            continue
        try:
            position = _load(path, state, content_sha256)
        # What does not fit is found on the way, by PyTorch; the previous one then takes its place as a whole.
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            damaged.append(f"{path}: the checkpoint is damaged ({reason_of(error)})")
            on_message(f"{damaged[-1]}; trying the previous one.")
            continue
        for field, own in _OF_STATE.items():
            setattr(state, own, getattr(position, field))
        return True
    if damaged:
        raise TrainingError(f"{'. '.join(damaged)}. No complete checkpoint is left; start a new run.")
    return False


def has_checkpoint(run_dir: Path) -> bool:
    """Return whether a run can be continued from a checkpoint."""
    return any((run_dir / "checkpoint" / name).exists() for name in (_LATEST, _PREVIOUS))


def drop_trials(run_dir: Path) -> None:
    """Delete what was trained before the run's own network, and the folder of that if nothing else is in it."""
    with suppress(OSError):
        for name in TRIALS:
            rmtree(run_dir / TRIALS_NAME / name, ignore_errors=True)
        (run_dir / TRIALS_NAME).rmdir()


def refuse_links(*folders: Path) -> None:
    """Raise ``TrainingError`` if one of ``folders`` is a link: what is in them is emptied, replaced and deleted."""
    for path in folders:
        if path.is_symlink():
            raise TrainingError(f"{path}: is a link to somewhere else; delete it, and the run can be resumed.")


def drop_checkpoints(run_dir: Path) -> None:
    """Delete the checkpoints of a run that is finished, and their folder unless somebody else's files are in it."""
    folder = run_dir / "checkpoint"
    with suppress(OSError):
        for name in (_LATEST, _PREVIOUS, LESSON_NAME, _LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


@contextmanager
def run_lock(run_dir: Path, on_message: OnMessage) -> Iterator[None]:
    """Hold a lock on the run in ``run_dir`` that ends with this process; ``TrainingError`` if another one holds it."""
    if not ranks.is_first() or not run_dir.is_dir():
        yield
        return
    lock = _locked(run_dir, on_message)
    try:
        paths.drop_leftovers(run_dir.rglob("*.tmp"))
        yield
    finally:
        lock.release()


def _locked(run_dir: Path, on_message: OnMessage) -> FileLock:
    folder = run_dir / "checkpoint"
    refuse_links(folder, folder / _LOCK)
    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainingError(f"{run_dir}: another process is at work on this run; wait for it, or stop it.") from error
    except NotImplementedError:
        on_message(f"{run_dir}: this file system has no locks; take care that only one process works on this run.")
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written ({error.strerror or error}); fix its permissions.") from error
    return lock


def _load(path: Path, state: TrainingState, content_sha256: str) -> _Position:
    """Bring the tensors of ``state`` to the checkpoint at ``path``, and return its position."""
    tensors, metadata = unsealed(path)
    content = parsed(metadata["position"], dict[str, Any])
    version = content.get("format")
    if version != FORMAT:
        raise TrainingError(f"{path}: is a checkpoint of another version ({version}); start a new run.")
    position = shaped(content, _Position)
    if position.content_sha256 != content_sha256:
        raise TrainingError(
            f"{path.parent.parent}: the data have changed since the run began (content hash {content_sha256[:12]}…, "
            f"then {position.content_sha256[:12]}…); restore the old data or start a new run."
        )
    _restore(state, tensors)
    return position


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Return every tensor of ``state`` by name, the live ones where they exist."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for number, optimizer in enumerate(state.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{name}": tensor for name, tensor in values.items()}
    if state.taught is not None:
        tensors["taught"] = state.taught
    tensors |= {"sums": state.sums, "random.cpu": torch.get_rng_state()}
    if state.sums.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(state.sums.device)
    elif state.sums.device.type == "mps":
        tensors["random.mps"] = torch.mps.get_rng_state()
    return tensors


def _restore(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    state.model.load_state_dict(under("model."))
    if state.average is not None:
        state.average.load_state_dict(under("average."))
    for number, optimizer in enumerate(state.optimizers):
        content = optimizer.state_dict()
        content["state"] = {}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for name, tensor in under(f"optimizer.{number}.").items():
            index, kind = name.split(".")
            parameter = parameters[int(index)]
            # The fused optimiser works in memory order: its tensors must be laid out like the parameters.
            alike = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
            content["state"].setdefault(int(index), {})[kind] = alike.detach()
        optimizer.load_state_dict(content)
    state.sums.copy_(tensors["sums"])
    if "taught" in tensors:
        state.taught = tensors["taught"].to(state.sums.device)
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and state.sums.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], state.sums.device)
    elif "random.mps" in tensors and state.sums.device.type == "mps":
        torch.mps.set_rng_state(tensors["random.mps"])
