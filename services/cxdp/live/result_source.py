"""The part of the result store that the routes of rocking curves read."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.records import ScreeningResult


class ResultSource(Protocol):
    """The part of the result store that the page needs; every method may block on the disk."""

    def get(self, run_uid: str) -> ScreeningResult | None:
        """Return a run's newest revision."""
        ...

    def latest(self, limit: int, after_id: str | None = None) -> list[ScreeningResult]:
        """Return results newest first; only those older than run ``after_id`` where it is given."""
        ...

    def model_input(self, run_uid: str) -> NDArray[np.float32] | None:
        """Return (64, 64, 64) counts, axis 0 along Q."""
        ...

    def rocking_curve(self, run_uid: str) -> NDArray[np.float64] | None:
        """Return the curve as `braggwatch.callbacks.cxdp.records.ScreeningReport.rocking_curve` has it."""
        ...


def result_or_404(store: ResultSource, run_uid: str) -> ScreeningResult:
    """Return a run's result, or answer 404."""
    result = store.get(run_uid)
    if result is None:
        raise HTTPException(404, f"no result for run {run_uid}")
    return result
