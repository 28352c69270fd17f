"""The compiled gathering of a cube of Q from raw frames, sample by sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

MINIMUM_WEIGHT = 0.25
"""Covered fraction below which a voxel counts as not measured."""


class KernelPixels(NamedTuple):
    """(N, R, C) frames and `PixelCorrections`, as the kernel reads them."""

    frames: NDArray[np.generic]
    gain: NDArray[np.float32]
    dark: NDArray[np.float32]
    frame_scale: NDArray[np.float64]
    outlier_start: NDArray[np.int64]
    outlier_pixel: NDArray[np.int64]
    valid_from: float
    valid_below: float


class KernelOrder(NamedTuple):
    """`FrameOrder`, as the kernel reads it."""

    angles: NDArray[np.float64]
    frames: NDArray[np.int64]
    trust: NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def gather_cube(  # pragma: no cover - compiled
    pixels: KernelPixels,
    ordered: KernelOrder,
    polynomial: NDArray[np.float64],
    samples: tuple[int, int, int],
    intensity: NDArray[np.float32],
    coverage: NDArray[np.float32],
) -> None:
    """Fill the cube line by line along its last axis; arguments and results as `orthonormalise.gather` has them.

    The inner loop is one function on purpose: what it calls for each pixel would cost more than it does.
    """
    size = intensity.shape[0]
    n0, n1, n2 = samples
    total = np.zeros(size)
    weight = np.zeros(size)
    line = np.zeros((3, 4))
    per_voxel = 1.0 / (n0 * n1 * n2)
    h = 0
    for i in range(size):
        for j in range(size):
            total[:] = 0.0
            weight[:] = 0.0
            for si in range(n0):
                x = _offset(i, si, n0, size)
                for sj in range(n1):
                    _restrict(polynomial, x, _offset(j, sj, n1, size), line)
                    h = _add_line(pixels, ordered, line, n2, h, total, weight)
            for k in range(size):
                covered = weight[k] * per_voxel
                coverage[i, j, k] = min(covered, 1.0)
                if covered >= MINIMUM_WEIGHT:
                    intensity[i, j, k] = max(total[k] / weight[k], 0.0)
                else:
                    intensity[i, j, k] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _offset(voxel: int, sample: int, samples: int, size: int) -> float:  # pragma: no cover - compiled
    """Return where a sample of a voxel is, in half cubes from the middle."""
    half = size / 2.0
    return (voxel + (sample + 0.5) / samples - 0.5 - half) / half


@njit(cache=True, nogil=True, error_model="numpy")
def _restrict(  # pragma: no cover - compiled
    polynomial: NDArray[np.float64], x: float, y: float, line: NDArray[np.float64]
) -> None:
    """Write the cubic polynomials in z that are left of (angle, row, column) at x and y, (3, 4)."""
    for o in range(3):
        for c in range(4):
            outer = 0.0
            for a in range(3 - c, -1, -1):
                inner = 0.0
                for b in range(3 - a - c, -1, -1):
                    inner = inner * y + polynomial[o, a, b, c]
                outer = outer * x + inner
            line[o, c] = outer


@njit(cache=True, nogil=True, error_model="numpy")
def _add_line(  # pragma: no cover - compiled
    pixels: KernelPixels,
    ordered: KernelOrder,
    line: NDArray[np.float64],
    n2: int,
    h: int,
    total: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> int:
    """Add what one line of samples sees to its voxels; ``h`` is the last gap between frames, here and returned."""
    frames, gain, dark, frame_scale, outlier_start, outlier_pixel, valid_from, valid_below = pixels
    angles, frame_of, trust = ordered
    size = total.shape[0]
    last_frame = angles.shape[0] - 1
    n_rows = frames.shape[1]
    n_columns = frames.shape[2]
    has_dark = dark.shape[0] > 0
    low = angles[0]
    high = angles[last_frame]
    for k in range(size):
        for sk in range(n2):
            z = _offset(k, sk, n2, size)
            angle = line[0, 0] + z * (line[0, 1] + z * (line[0, 2] + z * line[0, 3]))
            if not (angle >= low and angle <= high):
                continue
            row = line[1, 0] + z * (line[1, 1] + z * (line[1, 2] + z * line[1, 3]))
            column = line[2, 0] + z * (line[2, 1] + z * (line[2, 2] + z * line[2, 3]))
            if not (row >= 0.0 and column >= 0.0):
                continue
            r = int(row)
            s = int(column)
            if r >= n_rows - 1 or s >= n_columns - 1:
                continue
            while h > 0 and angle < angles[h]:
                h -= 1
            while h < last_frame - 1 and angle > angles[h + 1]:
                h += 1
            trusted = trust[h]
            if trusted == 0.0:
                continue
            width = angles[h + 1] - angles[h]
            t = (angle - angles[h]) / width if width > 0.0 else 0.5
            fr = row - r
            fc = column - s
            g00 = gain[r, s]
            g01 = gain[r, s + 1]
            g10 = gain[r + 1, s]
            g11 = gain[r + 1, s + 1]
            w00 = (1.0 - fr) * (1.0 - fc) if g00 > 0.0 else 0.0
            w01 = (1.0 - fr) * fc if g01 > 0.0 else 0.0
            w10 = fr * (1.0 - fc) if g10 > 0.0 else 0.0
            w11 = fr * fc if g11 > 0.0 else 0.0
            for side in range(2):
                n = frame_of[h + side]
                wt = (t if side == 1 else 1.0 - t) * trusted
                u00, u01, u10, u11 = w00, w01, w10, w11
                v00 = float(frames[n, r, s])
                v01 = float(frames[n, r, s + 1])
                v10 = float(frames[n, r + 1, s])
                v11 = float(frames[n, r + 1, s + 1])
                # A NaN fails both comparisons, so it leaves here too.
                if not (v00 >= valid_from and v00 < valid_below):
                    v00, u00 = 0.0, 0.0
                if not (v01 >= valid_from and v01 < valid_below):
                    v01, u01 = 0.0, 0.0
                if not (v10 >= valid_from and v10 < valid_below):
                    v10, u10 = 0.0, 0.0
                if not (v11 >= valid_from and v11 < valid_below):
                    v11, u11 = 0.0, 0.0
                for e in range(outlier_start[n], outlier_start[n + 1]):
                    off = outlier_pixel[e] - (r * n_columns + s)
                    if off == 0:
                        u00 = 0.0
                    elif off == 1:
                        u01 = 0.0
                    elif off == n_columns:
                        u10 = 0.0
                    elif off == n_columns + 1:
                        u11 = 0.0
                if has_dark:
                    v00 -= dark[r, s]
                    v01 -= dark[r, s + 1]
                    v10 -= dark[r + 1, s]
                    v11 -= dark[r + 1, s + 1]
                signal = u00 * v00 * g00 + u01 * v01 * g01 + u10 * v10 * g10 + u11 * v11 * g11
                total[k] += wt * frame_scale[n] * signal
                weight[k] += wt * (u00 + u01 + u10 + u11)
    return h
