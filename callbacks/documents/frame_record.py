"""One frame of a detector, whatever way it travelled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Route(StrEnum):
    """How a frame reached us (see docs: the three routes)."""

    INLINE = "inline"
    RESOURCE_DATUM = "resource_datum"
    STREAM_RESOURCE = "stream_resource"


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One detector frame with the readings that belong to it, joined once and never again.

    Attributes
    ----------
    index
        Zero-based position in the rocking curve (``seq_num - 1``).
    angle_deg
        Readback of the scanned circle in degrees, without the geometry's offset; None until known (fly scans whose
        angles come from another stream).
    frame
        (rows, columns) counts as delivered, any real dtype.
    """

    run_uid: str
    index: int
    angle_deg: float | None
    frame: NDArray[np.generic]
    monitor: float | None
    transmission: float | None
    route: Route
