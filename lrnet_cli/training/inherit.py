"""What a run takes over from finished ones: the weights it starts from, and the answers of its teachers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lrnet_cli import paths
from lrnet_cli.data.datasets import located
from lrnet_cli.data.sketch import FEW_SEEN, share_in
from lrnet_cli.data.splits import Split
from lrnet_cli.errors import TrainingError
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.models.registry import build
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.words import LRNETS, Freeze
from lrnet_cli.training.checkpoint import has_checkpoint
from lrnet_cli.training.class_weights import located_class_weights
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.find import find_weights, fingerprint_of, located_weights, members_of


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return ``config`` with absolute paths: a run may be resumed from another working folder.

    Raises ``UsageError`` if the data set does not exist.
    """
    config = replace(
        with_absolute_folders(config),
        dataset=located(config.dataset),
        init=config.init and located_weights(config.init),
        class_weights=located_class_weights(config.class_weights),
        distill=tuple(map(located_weights, config.distill)),
        unlabelled=config.unlabelled and paths.expanded(config.unlabelled).resolve(),
    )
    return replace(
        config,
        init_sha256=config.init and fingerprint_of(find_weights(config.init)),
        sources_sha256=tuple(map(fingerprint_of, sources_of(config))),
    )


def with_absolute_folders(config: TrainConfig) -> TrainConfig:
    """Return ``config`` with absolute paths of the folders that data sets are kept in and copied from."""
    folder, mirror = config.data_dir, config.mirror
    if mirror is not None and "://" not in mirror:
        mirror = str(paths.expanded(mirror).resolve())
    return replace(config, data_dir=folder and paths.expanded(folder).resolve(), mirror=mirror)


def sources_of(config: TrainConfig) -> list[Path]:
    """Return the files that a run reads again whenever it is resumed: its teachers and its class weights."""
    weights = Path(config.class_weights)
    of_classes = [weights] if weights.is_absolute() and weights.is_file() else []  # else it is a word, or refused later
    return [find_weights(name) for name in config.distill] + of_classes


def refuse_changed(config: TrainConfig, *, with_init: bool) -> None:
    """Raise ``TrainingError`` if one of the ``sources_of`` a run, or its init, has changed since the run began."""
    # Earlier versions recorded no hashes of the sources.
    recorded = list(zip(sources_of(config), config.sources_sha256, strict=False))
    if with_init and config.init is not None and config.init_sha256 is not None:
        recorded.append((find_weights(config.init), config.init_sha256))
    for path, before in recorded:
        if (now := fingerprint_of(path)) != before:
            raise TrainingError(
                f"{path}: has changed since the run began (SHA-256 {now[:12]}…, then {before[:12]}…); restore the old "
                "file or start a new run."
            )


def network_of(
    config: TrainConfig,
    card: WeightsCard,
    resumed: Path | None,
    unseen: Sequence[Split],
    on_message: Callable[[str], None],
) -> nn.Module:
    """Return the network at its start, which a checkpoint of ``resumed``, if there is one, takes further.

    It has not been trained on ``unseen``, the validation and test images. Raises ``TrainingError`` if that cannot be
    said of ``config.init``, or if a file that the run takes over has changed since it began.
    """
    begins = resumed is None or not has_checkpoint(resumed)
    refuse_changed(config, with_init=begins)
    assert config.dropout is not None
    model = build(config.arch, dropout=config.dropout, **card.arch_args)
    if config.init is not None and begins:
        start_from(model, config.init, card, unseen, on_message)
    if config.freeze is not None:
        freeze(model, config.freeze)
    return model


def start_from(
    model: nn.Module, weights: str, card: WeightsCard, unseen: Sequence[Split], on_message: Callable[[str], None]
) -> None:
    """Give ``model``, fresh and to be described by ``card``, what fits it of ``weights``, a file, run or released name.

    Tensors are taken by name where their shapes agree; the class layer, which comes last, only if it answers for the
    same classes. Raises ``TrainingError`` for another architecture, or for weights that may have seen ``unseen``, the
    validation and test images.
    """
    path = single_weights(weights)
    known, other = load_weights(path)
    if other.arch != card.arch and not {other.arch, card.arch} <= {*LRNETS}:  # which have the same blocks
        raise TrainingError(f"{path}: is a {other.arch} and cannot start a {card.arch}; give --arch {other.arch}.")
    _refuse_seen(path, other, card, unseen)
    own, given = model.state_dict(), known.state_dict()
    last = set(list(own)[-2:]) if (other.classes, other.head) != (card.classes, card.head) else set()
    fitting = {name for name in own.keys() & given.keys() if given[name].shape == own[name].shape}
    taken = {name: given[name] for name in own if name in fitting - last}
    model.load_state_dict(own | taken)
    fresh = ", ".join(name for name in own if name not in taken)
    on_message(f"Starting from {path}{f'; new and untrained: {fresh}' if fresh else ''}.")


def freeze(model: nn.Module, blocks: Freeze) -> None:
    """Exclude the first ``blocks`` of LR-Net from training; its batch norms still follow the images."""
    for number in range(1, 4 if blocks == "blocks" else int(blocks) + 1):
        model.get_submodule(f"block{number}").requires_grad_(False)


def teachers_logits(
    teachers: Sequence[str],
    card: WeightsCard,
    split: Split,
    unseen: Sequence[Split],
    engine: Engine,
    on_message: Callable[[str], None],
) -> Tensor:
    """Return the mean logits (N, classes) of ``teachers`` for the unaltered images of ``split``, on its device.

    Raises ``TrainingError`` for a teacher of other images or classes, or one that may have seen ``unseen``.
    """
    total = torch.zeros(len(split), len(card.classes))
    for number, name in enumerate(teachers, 1):
        path = single_weights(name)
        teacher, other = load_weights(path)
        asked, answered = ((sorted(item.classes), item.head, item.arch_args) for item in (card, other))
        if asked != answered:
            raise TrainingError(f"{path}: cannot teach this run: its images' size, channels, classes or head differ.")
        _refuse_seen(path, other, card, unseen)
        on_message(f"Asking teacher {number} of {len(teachers)}, {path}.")
        network = engine.place(teacher, other.preprocessing.normalize).eval()
        total += predict_logits(network, split.images)[:, [other.classes.index(name) for name in card.classes]]
    return (total / len(teachers)).to(split.images.device)


def single_weights(weights: str) -> Path:
    """Return the file of ``weights``, which are those of one run; raises ``TrainingError`` for several."""
    path = find_weights(weights)
    if path.is_dir():
        raise TrainingError(f"{path}: holds several runs; name one of them, such as {members_of(path)[0].parent}.")
    return path


def _reading(card: WeightsCard) -> tuple[object, ...]:
    """Return what the pixels of an image depend on."""
    how = card.preprocessing
    return how.image_size, how.channels, how.crop, how.reading


def _refuse_seen(path: Path, other: WeightsCard, card: WeightsCard, unseen: Sequence[Split]) -> None:
    """Raise ``TrainingError`` if ``other`` was trained on another part of the same data as ``card``, or of alike ones.

    Other data are alike if they share images: a list whose labels were corrected, a folder that has grown. Images that
    were read in another way cannot be compared; those of a data set of the same name count as the same ones.
    """
    are_alike = other.dataset.get("content_sha256") == card.dataset["content_sha256"]
    if not are_alike and _reading(other) != _reading(card):
        are_alike = other.dataset.get("name") == card.dataset["name"]
    if not are_alike:
        if (share := share_in(other.seen, *unseen)) > FEW_SEEN:
            raise TrainingError(
                f"{path}: was trained on about {100 * share:.0f}% of this run's validation and test images, so its "
                "figures would not be honest; start from other weights, or say in a list's column split which images "
                "test."
            )
        return
    drawn = "val_cut" in card.protocol  # by the seed; a data set's own validation images are always the same
    parts = [
        (
            *(item.protocol.get("validation"), item.protocol.get("test_fold")),
            *((item.seed, item.dataset.get("train")) if drawn else ()),
        )
        for item in (other, card)
    ]
    if parts[0] != parts[1]:
        raise TrainingError(
            f"{path}: was trained on another part of these images (seed {other.seed}, validation on "
            f"{other.protocol.get('validation')}), so it may have seen this run's validation or test images; "
            "give the same seed, --val-fraction, --limit and fold."
        )
