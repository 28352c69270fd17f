"""Arrays kept part by part while a long scan runs, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.whole_file import whole_file


def kept_slice(path: Path | None, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return the array of an earlier call, or None where there is none that can be read and has this shape."""
    if path is None or not path.exists():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape else None


def keep_slice(path: Path | None, values: NDArray[np.float32]) -> None:
    """Write an array, whole or not at all; None: nothing is kept."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, partial.open("wb") as stream:
        np.save(stream, values)
