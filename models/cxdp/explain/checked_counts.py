"""The volume that is explained, checked as the classifier checks it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.cxdp.volume.volume_checks import unusable
from braggwatch.models.explain.explanation import ExplanationError


def checked_counts(counts: NDArray[np.floating], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return a model input as contiguous float32.

    Raises
    ------
    ExplanationError
        If it isn't a finite, non-negative, not empty volume of this shape.
    """
    problem = unusable(counts, shape)
    if problem is not None:
        raise ExplanationError(problem)
    return np.ascontiguousarray(counts, dtype=np.float32)
