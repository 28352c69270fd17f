"""Finds frames that show what their neighbours show, but as a whole too faint: attenuated, or taken without beam.

Each pixel's counts along the scan are band-limited: their Fourier transform along the scan direction is a section of
the crystal's autocorrelation, which ends at the crystal's length. So frames that sample a fringe more than twice
predict one another, also where a split peak is dark. A block of frames times one factor breaks that at both of its
edges in every pixel at once. Pixels are taken as Gaussian processes with the mean spectrum of a convex body's
autocorrelation, (1 - r)² up to its length; that the factor is 1 is weighed against the likeliest factor, each at its
own likeliest length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Under two where a crystal is longer along the scan than it is thick: then its frames don't predict one another.
_FRAMES_A_FRINGE = np.geomspace(1.2, 16.0, 12)
_LONGEST = 4
_FAINT = 0.7
_EVIDENCE = 2.0
# Variance of what is no counting noise: angles not read back, a beam that flickers.
_MODEL_ERROR = 1e-4
_FEWEST = 9


@dataclass(frozen=True, slots=True)
class FaintBlock:
    """Consecutive frames ``first`` to ``last`` (inclusive) with ``factor`` times the counts that were to be expected.

    ``evidence`` is the logarithm of a likelihood ratio.
    """

    first: int
    last: int
    factor: float
    evidence: float


def faintest_block(
    positions: NDArray[np.float64], counts: NDArray[np.float64], noise: NDArray[np.float64]
) -> FaintBlock | None:
    """Return the block of up to four frames that is most surely too faint; None if none is.

    Parameters
    ----------
    positions
        (n,) where along the scan each frame was taken, ascending, in frames.
    counts
        (n, pixels) counts without background.
    noise
        (n,) variance of a frame's counts, summed over its pixels.
    """
    n = len(positions)
    if n < _FEWEST:
        return None
    gram = counts @ counts.T
    power = float(np.trace(gram)) / n
    if power <= 0:
        return None
    inverse, log_det = _precisions(positions, noise, power)
    weighed = inverse * gram
    whole = weighed.sum(axis=(1, 2))
    as_is = -0.5 * (n * np.log(whole) + log_det)
    sums = np.cumsum(np.pad(weighed.sum(axis=2), ((0, 0), (1, 0))), axis=1)
    squares = np.cumsum(np.cumsum(np.pad(weighed, ((0, 0), (1, 0), (1, 0))), axis=1), axis=2)
    best: FaintBlock | None = None
    for length in range(1, _LONGEST + 1):
        # Two frames at either end stay out: a block without neighbours on both sides is only extrapolated.
        first = np.arange(2, n - 1 - length)
        last = first + length
        linear = sums[:, last] - sums[:, first]
        square = squares[:, last, last] - squares[:, first, last] - squares[:, last, first] + squares[:, first, first]
        with np.errstate(divide="ignore", invalid="ignore"):
            change = -linear / square  # counts times (1 + change) fit best
            rest = whole[:, None] - linear**2 / square
            gained = -0.5 * (n * np.log(rest) + log_det[:, None]) - as_is.max()
        faint = (square > 0) & (rest > 0) & (1.0 / (1.0 + change) < _FAINT) & (change > 0)
        gained = np.where(faint, gained, -np.inf)
        if not gained.size:
            continue
        at = np.unravel_index(int(np.argmax(gained)), gained.shape)
        evidence = float(gained[at])
        if evidence >= _EVIDENCE and (best is None or evidence > best.evidence):
            start = int(first[at[1]])
            best = FaintBlock(start, start + length - 1, float(1.0 / (1.0 + change[at])), evidence)
    return best


def _precisions(
    positions: NDArray[np.float64], noise: NDArray[np.float64], power: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the inverse covariance of the frames, (lengths, n, n), and the log-determinant of the covariance."""
    apart = np.abs(positions[:, None] - positions[None, :])
    turn = 2.0 * np.pi * apart / _FRAMES_A_FRINGE[:, None, None]
    # 3 ∫ (1 - r)² cos(turn r) dr over 0 to 1
    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = np.where(turn > 1e-2, 6.0 * (turn - np.sin(turn)) / turn**3, 1.0 - turn**2 / 20.0)
    covariance = kernel * power + np.diag(noise + _MODEL_ERROR * power)
    log_det: NDArray[np.float64] = np.linalg.slogdet(covariance).logabsdet
    return np.asarray(np.linalg.inv(covariance), dtype=np.float64), log_det
