"""What an explanation of one answer is, whatever made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError

Method = Literal["occlusion", "gradcam"]


class ExplanationError(BraggwatchError, ValueError):
    """An explanation can't be made from this input; the message says why."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where in a model input the evidence for a class lies.

    Attributes
    ----------
    label
        The class that is explained.
    probability
        Its calibrated probability on the input as it is, without mirror images.
    importance
        (n, n, n) float32, axes of the model input (axis 0 along Q), cells of equal size. Occlusion: how far hiding the
        cell lowers the class's log-odds (natural logarithm), negative where hiding raises them. Grad-CAM: not
        negative, in units of the logit.
    largest_drop
        Largest fall of the probability from hiding one cell; None where nothing was hidden.
    evaluations
        Volumes that were run, the cost.
    seconds
        Wall time it took.
    """

    method: Method
    label: str
    probability: float
    importance: NDArray[np.float32]
    largest_drop: float | None
    evaluations: int
    seconds: float

    def planes(self, size: int) -> NDArray[np.float32]:
        """Return the importance in the three central planes of a (size, size, size) model input.

        Returns
        -------
        (3, size, size) float32, linear between the cells' centres. Plane k is cut at voxel size // 2 of axis k, as
        the slices that the page draws.
        """
        fine = resampled(self.importance, size)
        return np.stack([np.take(fine, size // 2, axis=axis) for axis in range(3)])


def resampled(cells: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Resample (n, n, n) cell values to (size, size, size) voxels, linear between the cells' centres, flat outside."""
    n = cells.shape[0]
    centres = (np.arange(n) + 0.5) * size / n - 0.5
    weights = np.stack([np.interp(np.arange(size), centres, row) for row in np.eye(n)], axis=1)
    fine = np.einsum("xa,yb,zc,abc->xyz", weights, weights, weights, cells.astype(np.float64), optimize=True)
    return fine.astype(np.float32)
