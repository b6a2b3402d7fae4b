"""How many errors of how many images bear out an error rate: the exact binomial (Clopper and Pearson 1934)."""

import math

import numpy as np

from lrnet_cli.promise.evidence import Floats, Indices


def upper_bound(errors: Indices, images: Indices, confidence: float) -> Floats:
    """Return the error rates (N,) that are not exceeded, with this confidence, after ``errors`` of ``images`` (N,)."""
    from scipy.stats import beta

    is_open = errors >= images  # then nothing is excluded
    bounds: Floats = np.where(is_open, 1.0, beta.ppf(confidence, errors + 1, np.where(is_open, 1, images - errors)))
    return bounds


def images_needed(errors: int, max_error: float, confidence: float) -> int:
    """Return the smallest number of images of which ``errors`` may be wrong for ``max_error`` to be promised."""
    from scipy.stats import binom

    low, high = errors, math.ceil(errors / max_error) + 1
    while binom.cdf(errors, high, max_error) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if binom.cdf(errors, middle, max_error) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high
