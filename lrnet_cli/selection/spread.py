"""From features to a choice of images that differ from each other: k-means, and one image of each cluster."""

import warnings

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Indices = NDArray[np.int64]

_DIRECTIONS = 64  # principal ones, of the features
_SAMPLE = 10_000  # images, by which these are found
_ROUNDS = 50  # of k-means


def points_of(features: NDArray[np.float32]) -> Points:
    """Return features (N, F) as points (N, up to 64) of length 1 along their principal directions.

    Each feature counts equally before. Only the direction of a point is kept, which differs by what is in an image and
    less by how strongly it is printed.
    """
    values = features.astype(np.float64)
    values -= values.mean(0)
    deviation = values.std(0)
    values /= np.where(deviation > 1e-9, deviation, 1.0)
    sample = values[:: -(-len(values) // _SAMPLE)]
    _, directions = np.linalg.eigh(sample.T @ sample)
    points = values @ directions[:, ::-1][:, :_DIRECTIONS]
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    result: Points = points / np.maximum(lengths, 1e-9)
    return result


def spread(points: Points, count: int, seed: int, known: Indices, doubt: Points | None = None) -> Indices:
    """Return the indices of up to ``count`` of ``points`` (N, D), one of each cluster, those of large clusters first.

    It is the most central one, or, with ``doubt`` (N,), the most doubtful one. There is a cluster for each of
    ``count``, and one for each that is ``known``: so that no image of a cluster with a known one is returned while
    others have none (TypiClust, Hacohen et al. 2022, arXiv:2202.02794, section 3). The known ones are never returned.
    """
    from sklearn.cluster import KMeans  # takes a second
    from sklearn.exceptions import ConvergenceWarning

    is_known = np.zeros(len(points), dtype=bool)
    is_known[known] = True
    clusters = min(count + len(known), len(np.unique(points, axis=0)))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # of points that are nearly the same
        fitted = KMeans(clusters, n_init=1, max_iter=_ROUNDS, random_state=seed).fit(points)
    distance = np.square(points - fitted.cluster_centers_[fitted.labels_]).sum(1)
    rank = distance if doubt is None else -doubt
    chosen = np.empty(0, dtype=np.int64)
    left = ~is_known
    covered = np.bincount(fitted.labels_[is_known], minlength=clusters)
    # One image of each cluster; where these are fewer than asked for, a second one of each, and so on.
    while len(chosen) < count and left.any():
        waiting = np.flatnonzero(left)
        order = waiting[np.lexsort((waiting, rank[waiting]))]
        labels, first = np.unique(fitted.labels_[order], return_index=True)
        sizes = np.bincount(fitted.labels_[waiting], minlength=clusters)[labels]
        best = np.lexsort((labels, -sizes, covered[labels] > 0))
        picked = order[first[best]][: count - len(chosen)]
        chosen = np.concatenate([chosen, picked])
        left[picked] = False
        covered[fitted.labels_[picked]] += 1
    return chosen
