"""What a network gives for image files: logits, and features to compare them by."""

from collections.abc import Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from lrnet_cli.data.ahead import read_ahead
from lrnet_cli.data.images import Read, read_image
from lrnet_cli.errors import DataError
from lrnet_cli.models.features import WithFeatures, excess_of_features
from lrnet_cli.models.logits import BATCH_SIZE, predict_logits
from lrnet_cli.reporter import Reporter
from lrnet_cli.weights.open import OpenNetwork

Outputs = NDArray[np.float32]


def outputs_of(
    files: Sequence[str], opened: OpenNetwork, reporter: Reporter
) -> tuple[list[str], Outputs, list[tuple[str, str]]]:
    """Return the files that can be read, their logits and features (N, classes + features), and the other files.

    These come with the reason. Raises ``DataError`` if there are only such, or if memory does not hold the features,
    and ``WeightsError`` for a network that shows none.
    """
    network = WithFeatures(opened.network).eval()
    read, parts, unread, done = list[str](), list[Outputs](), list[tuple[str, str]](), 0
    stream = read_ahead(files, partial(read_image, preprocessing=opened.card.preprocessing, invert="auto"))
    while batch := list(islice(stream, BATCH_SIZE)):
        done += len(batch)
        reporter.images(done, len(files))
        pixels = [outcome.pixels for _, outcome in batch if isinstance(outcome, Read)]
        read += [path for path, outcome in batch if isinstance(outcome, Read)]
        unread += [(path, str(outcome)) for path, outcome in batch if not isinstance(outcome, Read)]
        if not pixels:
            continue
        parts.append(predict_logits(network, torch.from_numpy(np.stack(pixels)).to(opened.device)).numpy())
        if len(parts) == 1 and (problem := excess_of_features(len(files), parts[0].shape[1])):
            raise DataError(f"The features of {len(files)} images: {problem}; select from fewer at a time.")
    if not read:
        raise DataError(f"None of the {len(files)} images can be read; the first is {unread[0][0]}: {unread[0][1]}.")
    return read, np.concatenate(parts), unread
