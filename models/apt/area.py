"""Area under the receiver operating characteristic, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from braggwatch.models.uncertainty.ood import auroc

_Z = 1.959963984540054
_HAIR = 1e-12


@dataclass(frozen=True, slots=True)
class Area:
    """An area and its 95 % interval.

    Attributes
    ----------
    area
        Probability that a positive scores above a negative, ties counting half.
    low, high
        Newcombe's interval, method 5: Hanley and McNeil's variance at the limit itself, so that it has a width also
        where the area is 1 (Newcombe, Stat. Med. 25, 559, 2006).
    """

    area: float
    low: float
    high: float


def area_under_curve(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> Area:
    """Measure the area of scores of two classes.

    Parameters
    ----------
    positive, negative
        Scores, larger meaning positive; (M,) and (N,), finite.

    Raises
    ------
    ValueError
        If a class is empty.
    """
    area = auroc(np.asarray(negative, dtype=np.float64), np.asarray(positive, dtype=np.float64))
    m, n = len(positive), len(negative)
    extra = (m + n) / 2 - 1

    def variance(at: float) -> float:
        return at * (1 - at) * (1 + extra * ((1 - at) / (2 - at) + at / (1 + at))) / (m * n)

    def beyond(at: float, side: int) -> float:
        return side * (at - area) - _Z * np.sqrt(variance(at))

    # the variance is 0 at 0 and 1, which would be taken for limits
    low = 0.0 if area <= 0 else float(brentq(beyond, 0.0, min(area, 1 - _HAIR), args=(-1,)))  # pyright: ignore[reportArgumentType]
    high = 1.0 if area >= 1 else float(brentq(beyond, max(area, _HAIR), 1.0, args=(1,)))  # pyright: ignore[reportArgumentType]
    return Area(area, low, high)


def curve(
    positive: NDArray[np.floating], negative: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the characteristic's corners: false positive and true positive rates, ascending from 0 to 1."""
    cuts = np.concatenate([[np.inf], np.unique(np.concatenate([positive, negative]))[::-1]])
    false = 1 - np.searchsorted(np.sort(negative), cuts, side="left") / len(negative)
    true = 1 - np.searchsorted(np.sort(positive), cuts, side="left") / len(positive)
    return false.astype(np.float64), true.astype(np.float64)
