"""Images with their labels, and how they are split: for testing, for validation, into folds, to a limit."""

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.errors import DataError

_TEST_FRACTION = 0.2  # of a data set that comes without a test split
_TEST_SEED = 0  # fixed, so that every run and every seed is measured on the same images
_VALIDATION_IMAGES = 300  # fewer let a lucky epoch win
_SMALLEST_VAL_FRACTION, _LARGEST_VAL_FRACTION = 0.1, 0.2


@dataclass(frozen=True)
class Split:
    """Images, uint8 (N, channels, side, side), and their class indices, int64 (N,).

    ``paths`` are their files, if they have any; ``groups``, int64 (N,), number what they belong to, if the source says.
    """

    images: Tensor
    labels: Tensor
    paths: tuple[str, ...] | None = None
    groups: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """Return the images at ``indices``, int64 (M,)."""
        paths = None if self.paths is None else tuple(self.paths[index] for index in indices.tolist())
        groups = None if self.groups is None else self.groups[indices.to(self.groups.device)]
        return Split(self.images[indices], self.labels[indices], paths, groups)

    def with_rows_of(self, other: "Split") -> "Split":
        """Return these images and those of ``other``, as they were in one source."""
        paths = (*self.paths, *other.paths) if self.paths is not None and other.paths is not None else None
        groups = (
            torch.cat([self.groups, other.groups]) if self.groups is not None and other.groups is not None else None
        )
        return Split(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]), paths, groups)

    def to(self, device: torch.device) -> "Split":
        """Return the same images on ``device``."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def cut_of(split: Split, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return (kept, cut): sorted indices with about ``fraction`` of each class in ``cut``, drawn with ``seed``.

    No group is in both; groups are whole, so the share of a class may be off.
    """
    if split.groups is None or not len(split):
        return stratified_cut(split.labels, fraction, seed)
    if fraction > 0.5:
        cut, kept = cut_of(split, 1 - fraction, seed)
        return kept, cut
    parts = min(max(round(1 / fraction), 2), _most_group_folds(split))
    if parts < 2:  # nothing can be cut off
        everything = torch.arange(len(split))
        return everything, everything[:0]
    wanted, classes = fraction * len(split), len(split.labels.unique())

    def off(cut: tuple[Tensor, Tensor]) -> tuple[int, float]:
        """Return how many classes would have no image left, and how far the size is off, as a factor."""
        return classes - len(split.labels[cut[0]].unique()), abs(math.log(max(len(cut[1]), 1) / wanted))

    return min(_group_folds(split, parts, seed), key=off)


def _most_group_folds(split: Split) -> int:
    """Return into how many folds the groups can be cut: as many as there are, or images of the largest class."""
    assert split.groups is not None
    return min(len(split.groups.unique()), int(torch.bincount(split.labels).max()))


def _group_folds(split: Split, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second

    assert split.groups is not None
    labels, groups = split.labels.numpy(), split.groups.numpy()
    with warnings.catch_warnings(action="ignore"):  # of classes smaller than the number of folds
        cuts = list(StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(labels, labels, groups))
    return [(torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(cut))) for kept, cut in cuts]


def stratified_cut(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return (kept, cut): sorted indices with ``fraction`` of each class in ``cut``, drawn with ``seed``.

    A class keeps at least one image.
    """
    generator = np.random.default_rng(seed)
    values = labels.cpu().numpy()
    cut = np.zeros(len(values), dtype=bool)
    for label in np.unique(values):
        members = generator.permutation(np.flatnonzero(values == label))
        cut[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return torch.from_numpy(np.flatnonzero(~cut)), torch.from_numpy(np.flatnonzero(cut))


def limited(split: Split, limit: int | None, seed: int) -> Split:
    """Return ``limit`` images of ``split``, drawn with ``seed``, in their original order; without a limit, all."""
    if limit is None or limit >= len(split):
        return split
    chosen = np.random.default_rng(seed).permutation(len(split))[:limit]
    return split.take(torch.from_numpy(np.sort(chosen)))


def cut_validation(train: Split, fraction: float, seed: int, limit: int | None) -> tuple[Split, Split]:
    """Return (kept, cut) of ``limit`` images of ``train``: a stratified ``fraction`` is cut off for validation."""
    available = limited(train, limit, seed)
    kept, cut = cut_of(available, fraction, seed)
    return available.take(kept), available.take(cut)


def validation_apart(
    name: str, train: Split, val: Split | None, fraction: float | None, seed: int, limit: int | None
) -> tuple[Split, Split, float | None]:
    """Return ``limit`` images of ``train``, the validation images, and the fraction that was cut off for these.

    A source's own validation images ``val`` are used as they are, and nothing is cut off: None. The ``fraction`` is by
    default a tenth, up to a fifth if that is under 300 images. Raises ``DataError`` for too few images.
    """
    if val is not None:
        train = limited(train, limit, seed)
        if not len(val) or len(train) < 2:
            raise DataError(
                f"{name}: {len(train)} training and {len(val)} validation images are too few; give two or more to "
                "train on and one or more to validate with."
            )
        return train, val, None
    count = min(len(train), limit or len(train))
    if fraction is None:
        enough = max(_SMALLEST_VAL_FRACTION, _VALIDATION_IMAGES / max(count, 1))
        fraction = min(_LARGEST_VAL_FRACTION, enough)
    kept, cut = cut_validation(train, fraction, seed, limit)
    if not len(cut) or len(kept) < 2:
        raise DataError(
            f"{name}: {count} training images are too few to set {fraction:g} of each class aside for validation; give "
            + ("more images or a higher --val-fraction." if train.groups is None else "more groups of images.")
        )
    return kept, cut, fraction


def copies_of(train: Split, test: Split) -> int:
    """Return how many images of ``test`` are also in ``train``, pixel by pixel."""
    known = set(hashes_of(train))
    return sum(one in known for one in hashes_of(test))


def hashes_of(split: Split) -> Iterator[str]:
    """Yield a hash of the pixels of each image of ``split``, of 64 bits: small, and not alike by chance."""
    for image in split.images.cpu().numpy():
        yield hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest()


def cut_off_test(name: str, pool: Split) -> tuple[Split, Split]:
    """Return (train, test): a stratified fifth of ``pool`` for testing, the same fifth every time."""
    kept, cut = cut_of(pool, _TEST_FRACTION, _TEST_SEED)
    if not len(cut):
        raise DataError(f"{name}: too few images to set a fifth aside for testing; each class needs three or more.")
    return pool.take(kept), pool.take(cut)


def fold_cut(name: str, pool: Split, number: int, count: int, classes: Sequence[str]) -> tuple[Split, Split]:
    """Return (train, test): fold ``number``, from 1 up, of ``count`` stratified ones for testing, always the same."""
    from sklearn.model_selection import StratifiedKFold  # takes a second

    if pool.groups is not None:
        if (most := _most_group_folds(pool)) < count:
            advice = f"use at most {most} folds" if most > 1 else "give more images or groups"
            raise DataError(
                f"{name}: its {len(pool.groups.unique())} groups of images cannot be cut into {count} folds, which "
                f"need as many groups, and as many images of the largest class; {advice}."
            )
        kept, cut = _group_folds(pool, count, _TEST_SEED)[number - 1]
        return pool.take(kept), _named(pool).take(cut)
    counts = torch.bincount(pool.labels)
    smallest = int(pool.labels[counts[pool.labels].argmin()])
    if counts[smallest] < count:
        advice = f"use at most {counts[smallest]} folds" if counts[smallest] > 1 else "leave it out"
        raise DataError(
            f"{name}: class {classes[smallest]} has {counts[smallest]} images, too few to be cut into {count} folds; "
            f"{advice}, or give it more images."
        )
    cuts = StratifiedKFold(count, shuffle=True, random_state=_TEST_SEED).split(pool.labels, pool.labels)
    kept, cut = list(cuts)[number - 1]
    return pool.take(torch.from_numpy(kept)), _named(pool).take(torch.from_numpy(cut))


def _named(pool: Split) -> Split:
    """Return ``pool`` with a name for each image that has no file: its place in the source, counted from 0."""
    return pool if pool.paths is not None else replace(pool, paths=tuple(f"#{n}" for n in range(len(pool))))
