"""Interface to follow the frames of open runs, e.g. to upload them to a device before the run ends."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class FrameMirror(Protocol):
    """Notified of each frame once it is in the array of its curve; must not raise."""

    def stored(self, run_uid: str, array: NDArray[np.generic], index: int) -> None:
        """Take note of ``array[index]``, written or overwritten just now.

        Parameters
        ----------
        array
            (capacity, rows, columns): another array of the same shape and dtype holds the same frames, moved.
        """
        ...

    def dropped(self, run_uid: str) -> None:
        """Drop a run's frames: they were discarded, or the run has its record."""
        ...
