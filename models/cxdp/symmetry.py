"""Mirror images of a volume about its middle voxel n // 2, where the peak is, that keep the Q axis a Q axis.

For fcc crystals the direction of the dislocation line relative to Q is the main cue between screw and edge, so that
rotations which move Q to another axis change the class. The eight products of the three mirror flips keep it.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

SymmetryCopies = Literal[1, 2, 4, 8]

# The first 1, 2, 4 and 8 entries are each closed under composition.
_FLIPS: tuple[tuple[int, ...], ...] = ((), (0, 1, 2), (1, 2), (0,), (0, 2), (1,), (2,), (0, 1))


def mirrored_axes(copies: SymmetryCopies) -> tuple[tuple[int, ...], ...]:
    """Return the axes along which each copy of `symmetry_batch` is flipped."""
    return _FLIPS[:copies]


def symmetry_batch(volume: NDArray[np.floating], copies: SymmetryCopies) -> NDArray[np.float32]:
    """Stack a volume with its mirror images.

    Parameters
    ----------
    volume
        (n0, n1, n2), any axis along Q.
    copies
        1, 2, 4 or 8; the first copy is the volume itself, the second its inversion.

    Returns
    -------
    NDArray
        (copies, n0, n1, n2) float32, contiguous.
    """
    if copies not in get_args(SymmetryCopies):
        raise ValueError(f"symmetry copies must be one of {get_args(SymmetryCopies)}, got {copies}")
    if volume.ndim != 3:
        raise ValueError(f"a volume has three axes, got shape {volume.shape}")
    batch = np.empty((copies, *volume.shape), dtype=np.float32)
    for number, axes in enumerate(mirrored_axes(copies)):
        # about the peak's own voxel n // 2: of an even number of planes the first has no partner and stays
        even = [axis for axis in axes if volume.shape[axis] % 2 == 0]
        batch[number] = np.roll(np.flip(volume, axes), [1] * len(even), even)
    return batch
