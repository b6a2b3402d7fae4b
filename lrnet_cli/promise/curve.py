"""How the error of accepted labels grows with their share: the risk-coverage curve (El-Yaniv and Wiener 2010)."""

from dataclasses import dataclass

import numpy as np

from lrnet_cli.promise.bound import upper_bound
from lrnet_cli.promise.evidence import Booleans, Floats, Indices

_POINTS = 50


@dataclass(frozen=True)
class CurvePoint:
    """The most certain labels, the share ``coverage`` of all: the share ``risk`` of them is wrong.

    At most ``bound`` would be, of further images like these, with a confidence of 95% for this point alone.
    """

    coverage: float
    risk: float
    bound: float


@dataclass(frozen=True)
class RiskCoverage:
    """Points of the curve, and the ``area`` below it: the mean risk over all coverages, from 0 (best) to 1."""

    area: float
    points: tuple[CurvePoint, ...]


def risk_coverage(scores: Floats, wrong: Booleans) -> RiskCoverage:
    """Return the curve of images with ``scores`` (N,), of which some are ``wrong`` (N,); equal scores go together."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends: Indices = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1  # images down to each score
    errors: Indices = np.cumsum(wrong[order], dtype=np.int64)[ends - 1]
    risks, widths = errors / ends, np.diff(ends, prepend=0)
    shown = np.unique(np.searchsorted(ends, np.ceil(np.linspace(1 / _POINTS, 1, _POINTS) * len(scores))))
    bounds = upper_bound(errors[shown].astype(float), ends[shown].astype(float), 0.95)
    points = zip(ends[shown] / len(scores), risks[shown], bounds, strict=True)
    area = float((risks * widths).sum() / len(scores))
    return RiskCoverage(area, tuple(CurvePoint(*map(float, point)) for point in points))
