"""Frames that were surveyed once and can be gathered from, in host or device memory."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import FrameStatistics
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import IndexPolynomial
from braggwatch.callbacks.cxdp.preprocess.scale import SizeEstimate
from braggwatch.callbacks.cxdp.preprocess.scan_plan import ScanPlan


class GatheredCube(Protocol):
    """A peak on an orthonormal grid, in host or device memory."""

    @property
    def intensity(self) -> NDArray[np.float32]:
        """(64, 64, 64) float32 corrected counts."""
        ...

    @property
    def coverage(self) -> NDArray[np.float32]:
        """(64, 64, 64) float32 measured fraction of each voxel, 0 to 1."""
        ...

    def size(self, voxel_size_inv_A: float) -> SizeEstimate | None:
        """See `braggwatch.callbacks.cxdp.preprocess.scale.estimate_size`."""
        ...

    def centre(self, window_voxels: float) -> NDArray[np.float64]:
        """See `braggwatch.callbacks.cxdp.preprocess.peak_centre.peak_centre`."""
        ...


class SurveyedFrames(Protocol):
    """Surveyed frames of one scan, in host or device memory."""

    @property
    def plan(self) -> ScanPlan:
        """Order, geometry and corrections."""
        ...

    @property
    def statistics(self) -> FrameStatistics:
        """Result of the pass over the frames."""
        ...

    def image(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Return a window of the frames' sum: usable counts, not corrected."""
        ...

    def gather(self, polynomial: IndexPolynomial, samples: tuple[int, int, int]) -> GatheredCube:
        """Pull a cube out of the frames, see `braggwatch.callbacks.cxdp.preprocess.orthonormalise.gather`."""
        ...
