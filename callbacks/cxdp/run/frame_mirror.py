"""Who may watch the frames of open runs as they are put together, e.g. to have them on a device when a run ends."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class FrameMirror(Protocol):
    """Is told of each frame once it is in the array that its curve will hold; must not raise."""

    def stored(self, run_uid: str, array: NDArray[np.generic], index: int) -> None:
        """Take note of ``array[index]``, written or overwritten just now.

        Parameters
        ----------
        array
            (capacity, rows, columns): another array of the same shape and dtype holds the same frames, moved.
        """
        ...

    def dropped(self, run_uid: str) -> None:
        """Forget a run's frames: they were given up, or the run has its record."""
        ...
