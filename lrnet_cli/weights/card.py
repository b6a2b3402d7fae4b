"""The metadata of a weight file, which are strings."""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from lrnet_cli.data.images import Preprocessing
from lrnet_cli.documents import loaded, shaped
from lrnet_cli.errors import WeightsError
from lrnet_cli.models.novelty import DESCRIPTION, Novelty
from lrnet_cli.models.registry import ARCHITECTURES
from lrnet_cli.promise.evidence import Evidence
from lrnet_cli.settings.words import LRNETS, Head

FORMAT = "lrnet-weights/1"
_LEAST_TEMPERATURE = 2.0**-126  # the smallest normal number in single precision


class UnlabelledNote(TypedDict):
    """What images without labels did for a network.

    ``kept`` says which network it is: the ``supervised`` one, or the one that was ``taught`` by so many of them too;
    ``foreign`` and ``unsure`` ones were dropped, ``copies`` of labelled images and ``skipped`` files that cannot be
    read left out. Of ``validation`` images, which decide, ``right`` were the answers of the supervised network and
    those of label propagation; without a label that is propagated, nothing is taught.
    """

    kept: Literal["supervised", "taught"]
    taught: int
    foreign: int
    unsure: int
    copies: int
    skipped: int
    validation: int
    right: tuple[int, int]


class DataNote(TypedDict, total=False):
    """Which images a network was trained on: their source, the hash of their content, and how many there were.

    ``train``, ``val`` and ``test`` count labelled ones; ``unlabelled`` is about others.
    """

    name: str
    content_sha256: str
    train: int
    val: int
    test: int
    skipped: int
    left_out: dict[str, int]
    unlabelled: UnlabelledNote


class ValidationCut(TypedDict):
    """How ``data.splits.cut_validation`` cut off the validation images."""

    fraction: float
    seed: int
    limit: int | None


class ProtocolNote(TypedDict, total=False):
    """How a network was trained: its cuts and recipe; of a released one also command, commit and how it is stored.

    ``val_cut`` says how the validation images were cut from the training images, in numbers; not every file has it.
    ``int8`` says how an export in eight-bit integers compares with the original, and on which images.
    """

    validation: str
    val_cut: ValidationCut
    recipe: dict[str, bool | int | float | str | list[str] | None]
    test_fold: tuple[int, int]
    ensemble: list[str]
    folds: int | None
    command: str
    commit: str
    stored: str
    int8: dict[str, int | float | str]


@dataclass(frozen=True)
class WeightsCard:
    """The content of a weight file besides its tensors; the metadata hold each field as JSON.

    ``arch_args`` are ``in_channels``, ``image_size`` and ``num_classes``; ``classes`` are in the order of the logits.
    Logits divided by ``temperature``, above 0, give calibrated probabilities; a file without one has 1.
    ``seen`` is a sketch of the images that it was trained and chosen on; earlier files have none.
    ``novelty`` tells foreign images by their logits, which are not divided for it, and perhaps a description; not
    every file has one.
    ``evidence`` is what a promised error rate is computed from; earlier files have none.
    ``dataset`` (name, content hash, sizes), ``protocol``, ``metrics`` and ``versions`` are for information only.
    """

    arch: str
    arch_args: dict[str, int]
    classes: tuple[str, ...]
    head: Head
    preprocessing: Preprocessing
    seed: int
    seen: tuple[str, ...] = ()
    temperature: float = 1.0
    novelty: Novelty | None = None
    evidence: Evidence | None = None
    dataset: DataNote = field(default_factory=DataNote)
    protocol: ProtocolNote = field(default_factory=ProtocolNote)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise ValueError(f"the architecture {self.arch!r} is not one of: {', '.join(ARCHITECTURES)}")
        if self.head not in get_args(Head):
            raise ValueError(f"the head {self.head!r} is not one of: {', '.join(get_args(Head))}")
        if not _LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise ValueError(f"the temperature {self.temperature!r} is not a number above 0 by which one can divide")
        if len(set(self.classes)) != len(self.classes) or not all(isinstance(name, str) for name in self.classes):
            raise ValueError("the class names are not distinct strings")
        own = {
            "in_channels": self.preprocessing.channels,
            "image_size": self.preprocessing.image_size,
            "num_classes": len(self.classes),
        }
        if self.arch_args != own:
            raise ValueError(
                f"the arguments {self.arch_args} do not fit preprocessing and class names, which give {own}"
            )
        if self.evidence is not None:
            indices = {*self.evidence.labels, *self.evidence.predicted}
            if not 0 <= min(indices) <= max(indices) < len(self.classes):
                raise ValueError("the answers for validation images name classes that there are not")
        # An ensemble or an export gives the novelty itself, after its logits.
        sizes = {len(self.classes), len(self.classes) + 1} | (
            {len(self.classes) + DESCRIPTION} if self.arch in LRNETS else set()
        )
        if self.novelty is not None and len(self.novelty.axes) not in sizes:
            raise ValueError(f"the novelty is over {len(self.novelty.axes)} outputs, the network gives {min(sizes)}")

    @property
    def needs_description(self) -> bool:
        """Whether the novelty is over logits and a description."""
        return self.novelty is not None and len(self.novelty.axes) > len(self.classes)

    @property
    def is_int8(self) -> bool:
        """Whether the file holds eight-bit integers."""
        return "int8" in self.protocol


def supervised(card: WeightsCard) -> WeightsCard:
    """Return ``card`` as that of a network that no image without a label taught."""
    note = card.dataset.get("unlabelled")
    if note is None:
        return card
    kept: UnlabelledNote = {**note, "kept": "supervised"}
    return replace(card, dataset={**card.dataset, "unlabelled": kept})


_FIELDS = {item.name for item in fields(WeightsCard)}


def metadata_of(card: WeightsCard) -> dict[str, str]:
    """Return the metadata, strings only, that hold ``card`` in a weight file or an exported one."""
    return {"format": FORMAT} | {key: json.dumps(value) for key, value in asdict(card).items()}


def card_of(path: Path, metadata: dict[str, str] | None) -> WeightsCard:
    """Return the card that the metadata of the file at ``path`` hold; raises ``WeightsError`` if they hold none."""
    version = (metadata or {}).get("format")
    if version != FORMAT or metadata is None:
        raise WeightsError(
            f"{path}: was not written by lrnet, or by a version that this one does not know "
            f"(format {version!r}, expected {FORMAT!r})."
        )
    try:
        return shaped({key: loaded(text) for key, text in metadata.items() if key in _FIELDS}, WeightsCard)
    except ValueError as error:
        raise WeightsError(f"{path}: the metadata cannot be used: {error}.") from error
