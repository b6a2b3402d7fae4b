"""Sets of labels that hold the right one with a given probability: split conformal prediction.

Angelopoulos and Bates 2021, arXiv:2107.07511, section 1, with the log-odds of a class as its score.
"""

import math

import numpy as np

from lrnet_cli.promise.evidence import Floats, rounded


def images_for_sets(coverage: float) -> int:
    """Return the smallest number of labelled images from which sets of this ``coverage`` can be made."""
    return math.ceil(round(coverage / (1 - coverage), 6))


def least_odds(truths: Floats, coverage: float) -> float:
    """Return the log-odds from which a class belongs to an image's set.

    ``truths`` (N,) are the log-odds of the right class of labelled images. The sets of further images like these hold
    the right class with at least the probability ``coverage``, over the draw of all of them.
    """
    rank = math.ceil(round((len(truths) + 1) * coverage, 9))
    return -math.inf if rank > len(truths) else float(np.sort(truths)[::-1][rank - 1])


def label_set(odds: Floats, least: float) -> list[int]:
    """Return the classes of log-odds ``odds`` (classes,) from ``least`` up, the most likely first, never none."""
    order, stored = np.argsort(-odds, kind="stable"), rounded(odds)
    return [int(index) for rank, index in enumerate(order) if rank == 0 or stored[index] >= least]
