"""Central slices of the model input, as the page draws them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

SliceDtype = Literal["float32", "uint8"]


def central_slices(intensity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the three planes through the centre voxel and take log10(1 + counts).

    Parameters
    ----------
    intensity
        (n, n, n) counts, axis 0 along Q, non-negative; the Bragg peak sits at voxel n // 2 of each axis.

    Returns
    -------
    (3, n, n) float32. Plane k is cut at the centre of axis k; its rows and columns are the two axes that remain, in
    order: (q⊥1, q⊥2), (q∥, q⊥2), (q∥, q⊥1).

    Raises
    ------
    ValueError
        Where the input is not a cube.
    """
    if intensity.ndim != 3 or len(set(intensity.shape)) != 1:
        raise ValueError(f"expected a cube, got shape {intensity.shape}")
    centre = intensity.shape[0] // 2
    planes = np.stack([np.take(intensity, centre, axis=axis) for axis in range(3)])
    # A stored array may be damaged: what is drawn stays finite, whatever was kept.
    counts = np.nan_to_num(planes, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    return np.log10(1.0 + counts).astype(np.float32)


def packed(planes: NDArray[np.float32], dtype: SliceDtype) -> tuple[bytes, float]:
    """Return little-endian bytes in C order and log10(1 + counts) of one unit.

    float32 holds the logarithm itself (unit 1); uint8 spreads 0 to the highest value over 0 to 255, a quarter of the
    size, for slow links.
    """
    if dtype == "float32":
        return planes.astype("<f4").tobytes(), 1.0
    highest = float(planes.max(initial=0.0))
    if highest == 0.0:
        return np.zeros(planes.shape, np.uint8).tobytes(), 0.0
    return np.round(planes * (255.0 / highest)).astype(np.uint8).tobytes(), highest / 255.0
