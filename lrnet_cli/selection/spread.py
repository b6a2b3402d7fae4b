"""From features to a choice of images that differ from each other: k-means, and one image of each cluster."""

import warnings

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]
Indices = NDArray[np.int64]

_ROUNDS = 50  # of k-means


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
