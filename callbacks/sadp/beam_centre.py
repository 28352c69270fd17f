"""Where the direct beam is: the point about which the spots pair up, seen or hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from braggwatch.callbacks.sadp.spots import Spots

_MOST_VOTERS = 120
_CANDIDATES = 6
_PRIOR_WIDTH = 0.18


@dataclass(frozen=True, slots=True)
class Centre:
    """The direct beam.

    Attributes
    ----------
    x_px, y_px
        In the picture, the first pixel's centre at (0, 0).
    uncertainty_px
        Standard error from the scatter of the pairs' midpoints.
    paired
        Share of the spots, by brightness, whose Friedel mate is seen, of those whose mate could be.
    asymmetry
        Mean |I - I'| / (I + I') of the pairs, weighted with their brightness: large where the beam is off the zone.
    pairs
        Number of pairs.
    """

    x_px: float
    y_px: float
    uncertainty_px: float
    paired: float
    asymmetry: float
    pairs: int


def find_centre(
    spots: Spots, shape: tuple[int, int], hidden: NDArray[np.bool_] | None = None, *, tolerance_px: float | None = None
) -> Centre | None:
    """Find the direct beam by Friedel pairs.

    The midpoints of all pairs of similar spots vote. Every lattice point and every half of one is such a midpoint:
    the direct beam is where most pairs meet and their intensities agree best, near the middle if in doubt.

    Parameters
    ----------
    spots
        With or without the direct beam itself.
    shape
        (H, W) of the picture.
    hidden
        (H, W) True where a mate can't be seen.
    tolerance_px
        Largest distance of a spot from where its mate is expected; else from the spots' width.

    Returns
    -------
    Centre | None
        None where no pair is found.
    """
    if len(spots) < 2:
        return None
    tolerance = tolerance_px if tolerance_px is not None else max(1.5, 1.0 * spots.spot_sigma_px)
    voters = spots.pick(np.arange(min(len(spots), _MOST_VOTERS)))
    points = np.ascontiguousarray(voters.positions_px)
    brightness = np.ascontiguousarray(voters.intensity)
    scale = tolerance / 1.5
    votes = np.zeros((int(shape[0] / scale) + 2, int(shape[1] / scale) + 2), dtype=np.float32)
    _vote(points, np.log(brightness), votes, scale)
    votes = np.asarray(gaussian_filter(votes, 1.0, mode="constant"), dtype=np.float32)
    middle = np.array([(shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0])
    rows, columns = np.ogrid[: votes.shape[0], : votes.shape[1]]
    away = np.hypot(columns * scale - middle[0], rows * scale - middle[1]) / max(shape)
    weighted = votes * np.exp(-0.5 * (away / _PRIOR_WIDTH) ** 2)
    blocked = np.zeros(shape, dtype=np.bool_) if hidden is None else hidden
    best, result = -1.0, None
    for _ in range(_CANDIDATES):
        row, column = divmod(int(weighted.argmax()), weighted.shape[1])
        if weighted[row, column] <= 0:
            break
        guess = np.array([column * scale, row * scale])
        weighted[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = 0.0
        refined, judged = _judge(points, brightness, guess, tolerance, blocked)
        if judged is None:
            continue
        prior = float(np.exp(-0.5 * (np.hypot(*(refined - middle)) / max(shape) / _PRIOR_WIDTH) ** 2))
        # pairs, not only their share: at the edge of a pattern few spots have a mate in sight, and those may have it
        score = judged.paired * (1.0 - judged.asymmetry) ** 2 * np.sqrt(judged.pairs) * (0.3 + 0.7 * prior)
        if score > best:
            best, result = score, judged
    return result


def _judge(
    points: NDArray[np.float64],
    brightness: NDArray[np.float64],
    guess: NDArray[np.float64],
    tolerance: float,
    blocked: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], Centre | None]:
    centre = guess
    mates = np.empty(0, dtype=np.int64)
    for reach in (2.0 * tolerance, 1.3 * tolerance, 1.3 * tolerance):
        mates = _mates(points, centre[0], centre[1], reach)
        first = np.flatnonzero(mates > np.arange(len(mates)))
        if not len(first):
            return centre, None
        midpoints = (points[first] + points[mates[first]]) / 2.0
        centre = np.median(midpoints, axis=0)
    first = np.flatnonzero(mates > np.arange(len(mates)))
    if not len(first):
        return centre, None
    midpoints = (points[first] + points[mates[first]]) / 2.0
    weight = brightness**0.25
    expected = np.rint(2.0 * centre - points).astype(np.int64)
    height, width = blocked.shape
    inside = (expected[:, 0] >= 0) & (expected[:, 0] < width) & (expected[:, 1] >= 0) & (expected[:, 1] < height)
    inside[inside] = ~blocked[expected[inside, 1], expected[inside, 0]]
    inside &= np.hypot(*(points - centre).T) > 2.0 * tolerance
    paired = (mates >= 0) & inside
    one, two = brightness[first], brightness[mates[first]]
    asymmetry = float((np.abs(one - two) / (one + two) * np.sqrt(one + two)).sum() / np.sqrt(one + two).sum())
    spread = float(np.hypot(*midpoints.std(axis=0))) if len(first) > 2 else tolerance
    judged = Centre(
        x_px=float(centre[0]),
        y_px=float(centre[1]),
        uncertainty_px=float(max(spread / np.sqrt(len(first)), 0.01)),
        paired=float(weight[paired].sum() / max(weight[inside].sum(), 1e-12)),
        asymmetry=asymmetry,
        pairs=len(first),
    )
    return centre, judged


@njit(cache=True, nogil=True)
def _vote(
    points: NDArray[np.float64], log_brightness: NDArray[np.float64], votes: NDArray[np.float32], scale: float
) -> None:
    lowest = log_brightness.min()
    for i in range(len(points)):
        for j in range(i):
            apart = (points[i, 0] - points[j, 0]) ** 2 + (points[i, 1] - points[j, 1]) ** 2
            if apart < 36.0 * scale * scale:
                continue
            unlike = (log_brightness[i] - log_brightness[j]) / 0.4
            if abs(unlike) > 4.0:
                continue
            x = int((points[i, 0] + points[j, 0]) / 2.0 / scale + 0.5)
            y = int((points[i, 1] + points[j, 1]) / 2.0 / scale + 0.5)
            if 0 <= y < votes.shape[0] and 0 <= x < votes.shape[1]:
                bright = 0.5 * (log_brightness[i] + log_brightness[j]) - lowest
                votes[y, x] += np.exp(-0.5 * unlike * unlike) * (1.0 + 0.5 * bright)


@njit(cache=True, nogil=True)
def _mates(points: NDArray[np.float64], x: float, y: float, reach: float) -> NDArray[np.int64]:
    """Find each spot's Friedel mate, the nearest in reach, or -1; the direct beam is nobody's mate."""
    mates = np.full(len(points), -1, dtype=np.int64)
    for i in range(len(points)):
        if (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2 < 4.0 * reach * reach:
            continue
        nearest = reach * reach
        for j in range(len(points)):
            if j == i:
                continue
            off = (points[i, 0] + points[j, 0] - 2.0 * x) ** 2 + (points[i, 1] + points[j, 1] - 2.0 * y) ** 2
            if off < nearest:
                nearest = off
                mates[i] = j
    for i in range(len(points)):
        if mates[i] >= 0 and mates[mates[i]] != i:
            mates[i] = -1
    return mates
