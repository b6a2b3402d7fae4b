"""Data sets as tensors: from a name or a path to uint8 images, labels and class names."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from lrnet_cli import paths
from lrnet_cli.data.catalog import ALIASES, CATALOG, EMBEDDED, KNOWN_NAMES, canonical_name
from lrnet_cli.data.download import check_files, download, overall_state
from lrnet_cli.data.framing import framed
from lrnet_cli.data.images import ImageOptions, Preprocessing
from lrnet_cli.data.polarity import Polarity, PolarityRule, common_polarity
from lrnet_cli.data.readers import idx
from lrnet_cli.data.readers.by_path import read_raw
from lrnet_cli.data.readers.raw import RawDataset, RawSplit
from lrnet_cli.data.reading import Reading, Skipped, listed, remarks
from lrnet_cli.data.splits import Split, copies_of, cut_off_test, fold_cut
from lrnet_cli.errors import DataError, UsageError, suggestion
from lrnet_cli.reporter import SILENT, OnMessage, Reporter
from lrnet_cli.settings.place import Source

_FOLDER_IMAGE_SIZE = 28  # pixels, the paper's
_POLARITY_SAMPLE = 500  # images at most
_DEFAULT_OPTIONS, _DEFAULT_SOURCE = ImageOptions(), Source()


@dataclass(frozen=True)
class Dataset:
    """A data set in memory. ``val`` is None unless the source brings its own validation images.

    ``content_sha256`` hashes class names, images and labels of all splits as they are here.
    ``test_is_cut_off`` says that the source has no test split of its own, ``skipped`` are image files that could not
    be read, and ``left_out`` counts, by kind, what else lies in the source and was not read. ``apart`` are the source's
    own test images where a fold tests.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    val: Split | None
    test: Split
    content_sha256: str
    test_is_cut_off: bool = False
    skipped: tuple[Skipped, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    apart: Split | None = None


def load_dataset(
    name: str,
    options: ImageOptions = _DEFAULT_OPTIONS,
    *,
    fold: tuple[int, int] | None = None,
    source: Source = _DEFAULT_SOURCE,
    reporter: Reporter = SILENT,
) -> Dataset:
    """Return the data set called ``name``, downloaded from ``source`` if necessary, or the one at the path ``name``.

    Unless the ``options`` hold the preprocessing of a trained network, the polarity is that of the training images.
    From a source without a test split, a stratified fifth is set aside for testing, the same fifth every time. With
    ``fold`` (number from 1 up, count) the training images, which are all images of a source without a test split,
    are cut into ``count`` stratified parts, always the same ones: part ``number`` is the test split, the rest is for
    training, and the source's own test images are left out.

    Image files are read by other processes. What was left out, and which classes are too small, is a message to
    ``reporter``.

    Raises ``DataError`` or ``DownloadError`` naming the file at fault, ``UsageError`` for an unknown name.
    """
    raw = read_source(name, source, reporter)
    own = preprocessing_of(raw.train, options)
    if options.preprocessing is None and (options.crop == "on" or canonical_name(name) not in KNOWN_NAMES):
        own = framed(name_of(name), raw.train, own, options, reporter)
    if isinstance(raw.train.images, list):
        count = sum(len(part.labels) for part in raw.parts.values())
        classes = f"{len(raw.classes)} classes: {listed(raw.classes)}"
        reporter.message(f"{name_of(name)}: {count} image files in {classes}.")
    reading = Reading(str(paths.expanded(name).resolve()), raw, own, options, source.data_dir, reporter)
    train, val, test = splits = reading.read()
    assert train is not None
    for remark in remarks(name_of(name), raw, splits, reading.skipped, reading.several):
        reporter.message(remark)
    apart, pool = None if fold is None else test, train
    train, test = tested_apart(name, train, test, fold, raw.classes, reporter.message)
    if options.preprocessing is None:  # the same for all folds, whose networks count as one
        own = replace(own, polarity=_polarity_of(train if fold is None else pool, own.polarity_rule))
    if copies := copies_of(train, test):
        reporter.message(f"{name_of(name)}: {copies} of the {len(test)} test images are duplicates of training images.")
    return Dataset(
        name=name_of(name),
        classes=raw.classes,
        preprocessing=own,
        train=train,
        val=val,
        test=test,
        content_sha256=_content_hash(raw.classes, train, val, test),
        test_is_cut_off=raw.test is None and fold is None,
        skipped=tuple(reading.skipped),
        left_out=dict(raw.left_out),
        apart=apart,
    )


def tested_apart(
    name: str,
    train: Split,
    test: Split | None,
    fold: tuple[int, int] | None,
    classes: Sequence[str],
    on_message: OnMessage,
) -> tuple[Split, Split]:
    """Return the training and the test split: those of the source, of a fold, or with a fifth cut off for testing.

    Raises ``DataError`` if nothing is left to test on, or too little to cut off.
    """
    if test is not None and not len(test):
        raise DataError(f"{name_of(name)}: none of its test images can be read; restore them, or give no test images.")
    if fold is None and test is not None:
        return train, test
    cut = cut_off_test(name, train) if fold is None else fold_cut(name_of(name), train, *fold, classes)
    present = train.labels.unique().tolist()
    for split, what in zip(cut, ("training", "test"), strict=True):
        lacking = sorted({*present} - {*split.labels.unique().tolist()})
        if train.groups is not None and lacking:
            names = listed(classes[index] for index in lacking)
            on_message(f"{name_of(name)}: groups stay together, so there are no {what} images of: {names}.")
    return cut


def without_pixels(raw: RawDataset, unread: Collection[str] = ()) -> tuple[Split, Split | None, Split | None]:
    """Return training, validation and test images, but for ``unread`` files, as splits without pixels: to be cut."""

    def labelled(part: RawSplit) -> Split:
        kept = np.ones(len(part.labels), bool)
        if isinstance(part.images, list):
            kept[:] = [str(file) not in unread for file in part.images]
        groups = None if part.groups is None else torch.from_numpy(np.unique(part.groups, return_inverse=True)[1][kept])
        labels = torch.from_numpy(part.labels[kept])
        return Split(torch.empty(len(labels), 0), labels, groups=groups)

    val, test = (None if part is None else labelled(part) for part in (raw.val, raw.test))
    return labelled(raw.train), val, test


def located(source: str) -> str:
    """Return a data set's known name, or its path as it is from every working folder.

    Raises ``UsageError`` for what is neither.
    """
    if canonical_name(source) in KNOWN_NAMES:
        return source
    path = paths.expanded(source)
    if not os.path.exists(path):  # noqa: PTH110 # Path raises an error for a name that is too long
        raise UsageError(
            f"There is no data set {source!r}: neither a known name ({', '.join(KNOWN_NAMES)}) nor a file or folder."
            + suggestion(source, (*KNOWN_NAMES, *ALIASES))
        )
    return str(path.resolve())


def name_of(source: str) -> str:
    """Return what a data set is called: its known name, or that of its file or folder, without suffixes.

    A folder that is called like a known data set is another one, and gets another name.
    """
    known = canonical_name(source)
    if known in KNOWN_NAMES:
        return known
    name = paths.expanded(source).resolve().stem
    return f"own-{name}" if canonical_name(name) in KNOWN_NAMES else name


def with_classes_of(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return ``dataset`` with its labels as indices into ``classes``, matched by name.

    Raises ``DataError`` naming the classes of ``dataset`` that are not in ``classes``.
    """
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise DataError(
            f"{dataset.name}: has {len(unknown)} classes that the weights do not know: {listed(unknown)}. The weights "
            f"know: {', '.join(classes)}."
        )
    index = torch.tensor([list(classes).index(name) for name in dataset.classes])
    train, val, test = (
        replace(split, labels=index[split.labels]) if split is not None else None
        for split in (dataset.train, dataset.val, dataset.test)
    )
    assert train is not None
    assert test is not None
    return replace(dataset, classes=tuple(classes), train=train, val=val, test=test)


def read_source(name: str, source: Source, reporter: Reporter) -> RawDataset:
    """Return the data set called ``name``, or the one at that path, before preprocessing; see ``load_dataset``."""
    known = canonical_name(name)
    if known in CATALOG:
        entry, cache = CATALOG[known], paths.data_dir(source.data_dir)
        if overall_state(check_files(entry, cache)) != "ok":
            reporter.message(f"{entry.title} is not in {cache} yet; downloading it.")
            download(entry, cache, mirror=source.mirror, on_progress=reporter.download, on_message=reporter.message)
        return idx.read(cache / known, entry.classes)
    return _read_embedded() if known == EMBEDDED else read_raw(Path(located(name)))


def _read_embedded() -> RawDataset:
    from sklearn.datasets import load_digits  # takes a second

    digits = load_digits()
    # 17 grey levels, 0 to 16, counted from 32×32 scans.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return RawDataset(tuple("0123456789"), RawSplit(images, digits.target.astype(np.int64)), None, None)


def preprocessing_of(split: RawSplit, options: ImageOptions) -> Preprocessing:
    """Return the preprocessing that ``options`` ask for; its polarity is only known once the images are read."""
    if options.preprocessing is not None:
        return options.preprocessing
    if isinstance(split.images, list):
        own_size, own_channels = _FOLDER_IMAGE_SIZE, 1
    else:
        own_size, own_channels = max(split.images.shape[1:3]), split.images.shape[3]
    try:
        return Preprocessing(
            options.image_size or own_size,
            options.channels or own_channels,
            "mixed",
            polarity_rule="plane",
            reading="reduced",
        )
    except ValueError as error:
        raise UsageError(f"Preprocessing: {error}.") from error


def _polarity_of(train: Split, rule: PolarityRule) -> Polarity:
    sample = train.images[:: max(1, -(-len(train) // _POLARITY_SAMPLE))]
    return common_polarity((np.asarray(image).transpose(1, 2, 0) for image in sample), rule)


def _content_hash(classes: tuple[str, ...], *splits: Split | None) -> str:
    digest = hashlib.sha256(json.dumps(classes).encode())
    for split in splits:
        if split is not None:
            digest.update(json.dumps(list(split.images.shape)).encode())
            digest.update(split.images.numpy().data)
            digest.update(split.labels.numpy().data)
            if split.groups is not None:
                digest.update(split.groups.numpy().data)
    return digest.hexdigest()
