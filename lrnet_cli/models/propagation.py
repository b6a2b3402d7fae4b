"""Label propagation: a few labels spread along a graph of images that are alike.

Poisson learning (Calder et al. 2020, arXiv:2006.11184): each labelled image is a source of its class, and what flows to
an image through its neighbours says which class it belongs to. It works with very few labels, where the solution of
Laplace's equation is flat nearly everywhere.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_NEIGHBOURS = 10
_NARROW = 4.0  # of the weights: that of the farthest neighbour is exp(-4)
_LEAK = 1e-3  # of what each image has: without it, a part of the graph without labels has no solution
_ACCURACY, _MOST_STEPS = 1e-5, 1000  # of conjugate gradients


def propagated(points: NDArray[np.float32], known: Indices, labels: Indices, classes: int) -> Floats:
    """Return the score (N, classes) of each class for images as ``points`` (N, D), the higher the likelier.

    ``known`` (M,) are the indices of the images with ``labels`` (M,). Scores have a mean square of 1; those of an
    image that no label reaches are all the same.
    """
    return _poisson(_graph(points), known, labels, classes)


def _graph(points: NDArray[np.float32]) -> "csr_array":
    """Return the symmetric weights, a sparse matrix (N, N), of each of ``points`` with its nearest ones."""
    from scipy.sparse import csr_array
    from sklearn.neighbors import NearestNeighbors

    count = len(points)
    neighbours = min(_NEIGHBOURS, count - 1)
    distances, nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(points).kneighbors()
    farthest = np.maximum(distances[:, -1:], 1e-6)
    weights = np.exp(-_NARROW * np.square(distances / farthest, dtype=np.float64))
    rows = np.repeat(np.arange(count), neighbours)
    one_way = csr_array((weights.ravel(), (rows, nearest.ravel())), shape=(count, count))
    return one_way + one_way.T


def _poisson(weights: "csr_array", known: Indices, labels: Indices, classes: int) -> Floats:
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import cg

    degrees = weights.sum(1)
    laplacian = diags_array((1 + _LEAK) * degrees) - weights
    given = np.eye(classes)[labels]
    sources = np.zeros((len(degrees), classes))
    sources[known] = given - given.mean(0)
    scores = np.zeros_like(sources)
    for column in np.flatnonzero(sources.any(0)):
        scores[:, column], _ = cg(
            laplacian, sources[:, column], rtol=_ACCURACY, maxiter=_MOST_STEPS, M=diags_array(1 / degrees)
        )
    absent = np.setdiff1d(np.arange(classes), labels)
    scores[:, absent] = scores.min()  # a class without a label is no answer
    result: Floats = scores / max(float(np.sqrt(np.square(scores).mean())), 1e-12)
    return result
