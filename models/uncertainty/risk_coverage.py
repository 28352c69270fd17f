"""How often a named class is wrong against how often one is named, as the confidence asked for moves.

El-Yaniv and Wiener, "On the foundations of noise-free selective classification", J. Mach. Learn. Res. 11, 1605 (2010);
the area: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_POINTS_KEPT = 101


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """One threshold.

    Attributes
    ----------
    confidence
        The smallest that is still named.
    coverage
        Share of all patterns that are named then.
    error
        Share of the named that are wrong.
    """

    confidence: float
    coverage: float
    error: float


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The curve, from the surest pattern alone to all that may be named.

    Attributes
    ----------
    patterns, named
        All patterns, and how many of them get a class at the threshold that is in use: the curve ends there.
    points
        Coverage rises from one to the next; at most 101 of them, evenly spread, the last always among them.
    area
        Mean error over the coverage from none to the last point's, 0 to 1; of all points, not only of those kept.
    """

    patterns: int
    named: int
    points: tuple[RiskPoint, ...]
    area: float

    def error_at(self, share: float) -> float:
        """Return the error among the surest ``share`` (0 to 1) of the named."""
        wanted = share * self.points[-1].coverage
        return next((one.error for one in self.points if one.coverage >= wanted - 1e-12), self.points[-1].error)


def risk_coverage(confidence: ArrayLike, right: Sequence[bool], patterns: int) -> RiskCoverage | None:
    """Compute the curve; None where no class was named.

    Parameters
    ----------
    confidence
        (N,) of the patterns that got a class, 0 to 1. Equal ones are named together: no threshold divides them.
    right
        (N,) whether that class is the true one.
    patterns
        All patterns, those without a class included.

    Raises
    ------
    ValueError
        If shapes disagree, there are fewer patterns than named ones, or a confidence is not finite.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    good = np.asarray(right, dtype=bool)
    if sure.ndim != 1 or sure.shape != good.shape or len(sure) > patterns or not np.isfinite(sure).all():
        raise ValueError(f"need (N,) confidences and marks of at most {patterns} patterns, got {sure.shape}")
    if len(sure) == 0:
        return None
    order = np.argsort(-sure, kind="stable")
    sure, wrong = sure[order], np.cumsum(~good[order])
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True))  # of each run of equal confidences
    named = last + 1
    error = wrong[last] / named
    area = float(np.sum(error * np.diff(named, prepend=0)) / len(sure))
    wanted = np.ceil(np.linspace(1 / _POINTS_KEPT, 1.0, _POINTS_KEPT) * len(sure) - 1e-9)
    kept = np.unique(np.searchsorted(named, wanted))
    points = tuple(RiskPoint(float(sure[last[i]]), float(named[i] / patterns), float(error[i])) for i in kept)
    return RiskCoverage(patterns, len(sure), points, area)
