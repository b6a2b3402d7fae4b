"""Images without labels, read as those of a data set are."""

import hashlib
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from lrnet_cli import paths
from lrnet_cli.data.datasets import Dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.data.readers.raw import RawDataset, RawSplit
from lrnet_cli.data.reading import Reading, Skipped, skipped_said
from lrnet_cli.data.splits import hashes_of
from lrnet_cli.data.walk import images_below
from lrnet_cli.errors import DataError, SettingError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig


@dataclass(frozen=True)
class Unlabelled:
    """Images, uint8 (N, channels, side, side), without labels.

    ``copies`` counts those that were left out because they are in the labelled data set too, ``skipped`` are files that
    could not be read, and ``content_sha256`` hashes the images.
    """

    images: Tensor
    copies: int
    skipped: tuple[Skipped, ...]

    @property
    def content_sha256(self) -> str:
        """The hash of the images in their order."""
        return hashlib.sha256(self.images.numpy().data).hexdigest()


def load_unlabelled(config: TrainConfig, dataset: Dataset, reporter: Reporter) -> Unlabelled:
    """Return the images below the folder ``config.unlabelled``, preprocessed as those of ``dataset`` are.

    Those of the other polarity are inverted, as in prediction. Images of ``dataset`` are left out, by file or by
    pixels: those of validation and test stay unseen. Files that cannot be read are skipped, which is a message. Raises
    ``UsageError`` for what is no folder, and ``DataError`` if nothing is left.
    """
    folder = config.unlabelled
    assert folder is not None
    if not folder.is_dir():
        raise SettingError("{unlabelled} takes a folder of images, and {path} is none.", path=folder)
    parts = dataset.train, dataset.val, dataset.test, dataset.apart
    splits = [split for split in parts if split is not None]
    known = {paths.absolute(path) for split in splits for path in split.paths or ()}
    files = list(images_below(folder))
    others = [path for path in files if paths.absolute(path) not in known]
    raw = RawDataset(("",), RawSplit(others, np.zeros(len(others), np.int64)), None, None)
    options = ImageOptions(on_error=config.on_error, invert="auto")
    reading = Reading(f"{folder}/unlabelled", raw, dataset.preprocessing, options, config.data_dir, reporter)
    read, _, _ = reading.read_whatever_can_be()
    assert read is not None
    if reading.skipped:
        reporter.message(skipped_said(folder, reading.skipped))
    # An image of the other polarity is inverted here, but not in the labelled data set.
    inverted = [replace(split, images=255 - split.images) for split in splits]
    seen = set(chain.from_iterable(map(hashes_of, (*splits, *inverted))))
    new = torch.tensor([one not in seen for one in hashes_of(read)], dtype=torch.bool)
    images = read.images[new]
    if not len(images):
        raise DataError(f"{folder}: none of its {len(files)} images can be read and is not in {dataset.name} already.")
    copies = len(files) - len(reading.skipped) - len(images)
    return Unlabelled(images, copies, tuple(reading.skipped))
