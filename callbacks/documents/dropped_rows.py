"""Places the rows of a file whose writer left frames out: later rows belong to later points than their numbers say.

areaDetector's HDF5 plugin drops frames when its queue is full, and goes on. The number that it writes beside each
frame, the unique id, has a gap where frames lack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError

UNIQUE_IDS: Final = (
    "/entry/instrument/NDAttributes/NDArrayUniqueId",
    "/entry/instrument/NDAttributes/NDUniqueId",
    "/entry/instrument/detector/NDAttributes/NDArrayUniqueId",
    "/entry/instrument/detector/NDAttributes/NDUniqueId",
)
"""Where areaDetector's plugin writes the unique ids."""


class UnplacedRows(BraggwatchError, ValueError):  # noqa: N818 the name says what is wrong
    """Frames were dropped, and which point a row belongs to can't be told."""


def rows_by_point(ids: NDArray[np.generic], last: int, exposures: int) -> Mapping[int, int] | None:
    """Return the row of each point whose frame was written; None if the ids show no gap.

    Parameters
    ----------
    ids
        (rows,) unique ids as written.
    last
        Number of the last point announced, from 0; the file has fewer rows.
    exposures
        Rows of one point.

    Raises
    ------
    UnplacedRows
        If the ids show a gap, and don't account for all that lacks.
    """
    numbers = np.asarray(ids, dtype=np.float64)
    if numbers.size < 2 or not np.isfinite(numbers).all():
        return None
    steps = np.diff(numbers)
    values, counts = np.unique(steps, return_counts=True)
    step = float(values[int(np.argmax(counts))])
    if (steps == step).all():
        return None
    said = f"frames were dropped, by their unique ids; {numbers.size} rows are there for {(last + 1) * exposures}"
    if step <= 0 or (steps <= 0).any() or exposures != 1:
        raise UnplacedRows(f"{said}: which row belongs to which point can't be told")
    places = (numbers - numbers[0]) / step
    if (places != np.round(places)).any() or places[-1] != last:
        raise UnplacedRows(f"{said}, the ids account for {int(places[-1]) + 1}: which row belongs where can't be told")
    return {int(place): row for row, place in enumerate(places)}
