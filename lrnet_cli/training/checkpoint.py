"""Checkpoints: safetensors with every tensor of a run and, as JSON, its position and rows.

The newest is ``checkpoint/latest.safetensors``, the one before ``checkpoint/previous.safetensors``. Each is written
under another name and moved into place, so that a kill at any moment leaves a complete one, and holds a digest of its
content, so that a flipped bit is noticed.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lrnet_cli import paths
from lrnet_cli.errors import TrainingError
from lrnet_cli.reporter import EpochRow
from lrnet_cli.training.state import TrainingState

FORMAT = "lrnet-checkpoint/2"
_LATEST, _PREVIOUS = "latest.safetensors", "previous.safetensors"
# The names of a state's numbers in a checkpoint.
_POSITION = {name: name for name in ("epoch", "step", "seconds", "elapsed", "compiled")} | {"taken": "steps_taken"}


def save_checkpoint(run_dir: Path, state: TrainingState, content_sha256: str) -> None:
    """Write ``state`` of a run on data with the hash ``content_sha256``; the last checkpoint becomes the previous."""
    folder = run_dir / "checkpoint"
    folder.mkdir(exist_ok=True)
    position = {
        "format": FORMAT,
        "content_sha256": content_sha256,
        **{key: getattr(state, name) for key, name in _POSITION.items()},
        "rows": [asdict(row) for row in state.rows],
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(state).items()}
    with paths.replacing(folder / _LATEST) as temporary:
        text = json.dumps(position)
        temporary.write_bytes(save(tensors, {"position": text, "digest": _digest(tensors, text)}))
        if (folder / _LATEST).exists():
            (folder / _LATEST).replace(folder / _PREVIOUS)


def load_checkpoint(
    run_dir: Path, state: TrainingState, content_sha256: str, on_message: Callable[[str], None]
) -> bool:
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
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                position = json.loads(metadata["position"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # it is not a dict
            # Those of earlier versions have no digest.
            if metadata.get("digest", digest := _digest(tensors, metadata["position"])) != digest:
                raise ValueError("its content is not what was written")
            if position["format"] != FORMAT:
                raise TrainingError(
                    f"{path}: is a checkpoint of another version ({position['format']}); start a new run."
                )
        except (SafetensorError, KeyError, ValueError) as error:
            damaged.append(f"{path}: the checkpoint is damaged ({error})")
            on_message(f"{damaged[-1]}; trying the previous one.")
            continue
        if position["content_sha256"] != content_sha256:
            raise TrainingError(
                f"{run_dir}: the data have changed since the run began (content hash {content_sha256[:12]}…, then "
                f"{position['content_sha256'][:12]}…); restore the old data or start a new run."
            )
        _restore(state, tensors)
        for key, attribute in _POSITION.items():
            setattr(state, attribute, position[key])
        state.rows = [EpochRow(**row) for row in position["rows"]]
        return True
    if damaged:
        raise TrainingError(f"{'. '.join(damaged)}. No complete checkpoint is left; start a new run.")
    return False


def _digest(tensors: dict[str, Tensor], position: str) -> str:
    digest = hashlib.blake2b(position.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Return every tensor of ``state`` by name, the live ones where they exist."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for number, optimizer in enumerate(state.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{name}": tensor for name, tensor in values.items()}
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
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and state.sums.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], state.sums.device)
    elif "random.mps" in tensors and state.sums.device.type == "mps":
        torch.mps.set_rng_state(tensors["random.mps"])
