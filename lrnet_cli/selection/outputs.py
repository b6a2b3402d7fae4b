"""What is known of image files: their edges, and what a network gives for them, by which they are compared."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.datasets import preprocessing_of
from lrnet_cli.data.framing import framed
from lrnet_cli.data.images import ImageOptions, Preprocessing, Read, read_image
from lrnet_cli.data.readers.raw import RawSplit
from lrnet_cli.errors import DataError
from lrnet_cli.models.edges import edges_of
from lrnet_cli.models.features import WithFeatures, excess_of_features
from lrnet_cli.models.logits import BATCH_SIZE, predict_logits
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.weights.open import OpenNetwork


class Seen(NamedTuple):
    """The files that can be read, with their edges (N, E), and a network's logits (N, classes) and features (N, F).

    The last two are None without a network. ``unread`` are the other files, each with the reason.
    """

    read: list[str]
    unread: list[tuple[str, str]]
    edges: Tensor
    logits: Tensor | None
    features: Tensor | None


def seen(files: Sequence[str], opened: OpenNetwork | None, reporter: Reporter) -> Seen:
    """Return what is known of ``files``, by the network ``opened`` if there is one.

    Raises ``DataError`` if none can be read, or if memory does not hold what is known, and ``WeightsError`` for a
    network without features.
    """
    network = None if opened is None else WithFeatures(opened.network).eval()
    preprocessing = _suited_to(files) if opened is None else opened.card.preprocessing
    read, unread, done = list[str](), list[tuple[str, str]](), 0
    edges, outputs = list[Tensor](), list[Tensor]()
    stream = read_ahead(files, partial(read_image, preprocessing=preprocessing, invert="auto"))
    while batch := list(islice(stream, BATCH_SIZE)):
        done += len(batch)
        reporter.images(done, len(files))
        pixels = [outcome.pixels for _, outcome in batch if isinstance(outcome, Read)]
        read += [path for path, outcome in batch if isinstance(outcome, Read)]
        unread += [(path, str(outcome)) for path, outcome in batch if not isinstance(outcome, Read)]
        if not pixels:
            continue
        images = torch.from_numpy(np.stack(pixels))
        edges.append(edges_of(images))
        if opened is not None and network is not None:
            outputs.append(predict_logits(network, images.to(opened.device)))
        width = sum(part.shape[1] for part in (edges[0], *outputs[:1]))
        if len(edges) == 1 and (problem := excess_of_features(len(files), width)):
            raise DataError(f"The features of {len(files)} images: {problem}; select from fewer at a time.")
    if not read:
        raise DataError(f"None of the {len(files)} images can be read; the first is {unread[0][0]}: {unread[0][1]}.")
    if opened is None:
        return Seen(read, unread, torch.cat(edges), None, None)
    known, classes = torch.cat(outputs), len(opened.card.classes)
    return Seen(read, unread, torch.cat(edges), known[:, :classes], known[:, classes:])


def _suited_to(files: Sequence[str]) -> Preprocessing:
    """Return the image size and the cropping that a training on ``files`` would choose."""
    split, options = RawSplit([Path(path) for path in files], np.zeros(len(files), np.int64)), ImageOptions(crop="auto")
    return framed("", split, preprocessing_of(split, options), options, SILENT)
