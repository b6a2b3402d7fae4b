"""The weight file: safetensors with plain, unfolded parameters and everything needed to use and to judge them."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from lrnet_cli import paths
from lrnet_cli.choices import Head
from lrnet_cli.data.images import Preprocessing, is_regular_file
from lrnet_cli.errors import UsageError, WeightsError
from lrnet_cli.models.registry import ARCHITECTURES, build

FORMAT = "lrnet-weights/1"
WEIGHTS_NAME = "model.safetensors"
# The networks that come with this package, by name: run folders in it.
RELEASED = {name: Path(__file__).parent / "released" / name for name in ("digits", "fashion")}
_DEFAULT = "digits"
_COUNTER = "num_batches_tracked"  # PyTorch's, of no use once the statistics are recomputed; not stored


@dataclass(frozen=True)
class WeightsCard:
    """What a weight file says of itself beside its tensors; the metadata hold each field as JSON.

    ``arch_args`` are ``in_channels``, ``image_size`` and ``num_classes``; ``classes`` are in the order of the logits.
    Logits divided by ``temperature``, above 0, give calibrated probabilities; a file without one has 1.
    ``dataset`` (name, content hash, sizes), ``protocol``, ``metrics`` and ``versions`` are a record for people.
    """

    arch: str
    arch_args: dict[str, int]
    classes: tuple[str, ...]
    head: Head
    preprocessing: Preprocessing
    seed: int
    temperature: float = 1.0
    dataset: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise ValueError(f"the architecture {self.arch!r} is not one of: {', '.join(ARCHITECTURES)}")
        if self.head not in get_args(Head):
            raise ValueError(f"the head {self.head!r} is not one of: {', '.join(get_args(Head))}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"the temperature {self.temperature!r} is no number above 0")
        if len(set(self.classes)) != len(self.classes) or not all(isinstance(name, str) for name in self.classes):
            raise ValueError("the class names are not distinct texts")
        own = {
            "in_channels": self.preprocessing.channels,
            "image_size": self.preprocessing.image_size,
            "num_classes": len(self.classes),
        }
        if self.arch_args != own:
            raise ValueError(
                f"the arguments {self.arch_args} do not fit preprocessing and class names, which give {own}"
            )


def save_weights(path: Path, model: nn.Module, card: WeightsCard) -> None:
    """Write the parameters and statistics of ``model`` to ``path`` in one step."""
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.endswith(_COUNTER)
    }
    with paths.replacing(path) as temporary:
        # save_file would make a file that only its owner may read, whatever the umask.
        temporary.write_bytes(save(tensors, metadata_of(card)))


def load_weights(path: Path) -> tuple[nn.Module, WeightsCard]:
    """Return the network of a weight file, in evaluation mode and float32 on the CPU, and what the file says of it.

    Raises ``WeightsError`` naming the file and what does not fit. Nothing in the file is executed, and no memory is
    taken for sizes that the tensors in the file do not have.
    """
    try:
        if not is_regular_file(path):
            raise WeightsError(f"{path}: is no weight file, but a folder, pipe or device.")
        with safe_open(path, framework="pt") as file:
            card = card_of(path, file.metadata())
            with torch.device("meta"):
                model = build(card.arch, **card.arch_args)
            expected = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_COUNTER)}
            _check_names(path, set(expected), set(file.keys()))
            tensors = {name: file.get_tensor(name) for name in expected}
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: is no readable safetensors file ({error}). Give a model.safetensors that lrnet train wrote; "
            "pickle files (.pt, .pth) are never opened, since they can run code."
        ) from error
    except UsageError as error:
        raise WeightsError(f"{path}: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}.") from error
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}, the network needs {tuple(expected[name].shape)}."
            )
        if not tensor.is_floating_point():
            raise WeightsError(f"{path}: {name} holds {tensor.dtype}, expected floating-point numbers.")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name} holds NaN or infinite values.")
        if name.endswith("running_var") and (tensor < 0).any():
            raise WeightsError(f"{path}: {name} holds negative variances.")
        tensors[name] = tensor.float()
    counters = {name: torch.zeros((), dtype=torch.long) for name in model.state_dict() if name.endswith(_COUNTER)}
    model.load_state_dict(tensors | counters, assign=True)
    return model.eval(), card


def find_weights(name: str | Path | None) -> Path:
    """Return the weight file for ``--weights name``: a released name, a file or a run folder.

    Without a name it is this user's newest run, or the released digits where there is none. A file or folder that is
    called like a released network is meant by a path such as ``./digits``. Raises ``WeightsError`` if there is none.
    """
    if name is None:
        return (paths.newest_run() or RELEASED[_DEFAULT]) / WEIGHTS_NAME
    if name in RELEASED:
        return RELEASED[name] / WEIGHTS_NAME
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / WEIGHTS_NAME).exists():
            raise WeightsError(f"{path}: the folder holds no {WEIGHTS_NAME}; give a finished run or a weight file.")
        return path / WEIGHTS_NAME
    if not path.exists():
        raise WeightsError(
            f"{path}: there is no such weight file or run folder, and no released network of that name "
            f"({', '.join(RELEASED)})."
        )
    return path


def metadata_of(card: WeightsCard) -> dict[str, str]:
    """Return the metadata, strings only, that hold ``card`` in a weight file or an exported one."""
    return {"format": FORMAT} | {key: json.dumps(value) for key, value in asdict(card).items()}


def card_of(path: Path, metadata: dict[str, str] | None) -> WeightsCard:
    """Return the card that the metadata of the file at ``path`` hold; raises ``WeightsError`` if they hold none."""
    found = (metadata or {}).get("format")
    if found != FORMAT or metadata is None:
        raise WeightsError(
            f"{path}: was not written by lrnet, or by a version that this one does not know "
            f"(format {found!r}, expected {FORMAT!r})."
        )
    try:
        metadata = {"temperature": "1.0"} | metadata
        values = {key: json.loads(metadata[key]) for key in WeightsCard.__dataclass_fields__}
        values["preprocessing"] = Preprocessing(**values["preprocessing"])
        values["classes"] = tuple(values["classes"])
        return WeightsCard(**values)
    except KeyError as error:
        raise WeightsError(f"{path}: the metadata lack {error}.") from error
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: the metadata cannot be used: {error}.") from error


def _check_names(path: Path, expected: set[str], found: set[str]) -> None:
    for problem, names in (("lacks", expected - found), ("has unknown", found - expected)):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
            raise WeightsError(f"{path}: {problem} {len(names)} tensors: {listed}.")
