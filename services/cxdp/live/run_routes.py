"""Routes for the stored results: records as JSON, arrays as raw binary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from braggwatch.callbacks.cxdp.records import LiveRecord, ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.services.cxdp.live.event_routes import wait_for_result
from braggwatch.services.cxdp.live.exports import csv_lines, model_input_npz, safe_file_name
from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.cxdp.live.result_source import ResultSource, result_or_404
from braggwatch.services.cxdp.live.slices import SliceDtype, central_slices, packed
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.unrecorded_board import UnrecordedBoard
from braggwatch.services.page.run_uid import RunUid

MAX_WAIT_S = 60.0
_PAGE_SIZE = 500


class RockingPlot(BaseModel):
    """A rocking curve to plot: summed counts per frame; None for a missing frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: list[float | None]
    x_label: str
    counts: list[float | None]


def _all_results(store: ResultSource, after: str | None = None) -> Iterator[ScreeningResult]:
    # Page by page, so that the records of a whole beamtime need not fit in memory.
    while page := store.latest(_PAGE_SIZE, after):
        yield from page
        after = page[-1].run_uid


def runs_router(
    store: ResultSource,
    broker: ResultBroker[LiveRecord],
    board: ProvisionalBoard,
    unrecorded: UnrecordedBoard,
    classes: Sequence[str],
) -> APIRouter:
    """Build everything under ``/runs``, and what the records' classes are: ``classes``, in the model's order."""
    router = APIRouter()

    @router.get("/classes")
    def named() -> list[str]:  # pyright: ignore[reportUnusedFunction]
        """Return the classes that the model may name, in the order of its outputs."""
        return list(classes)

    @router.get("/provisional")
    def in_progress() -> list[ProvisionalVerdict]:  # pyright: ignore[reportUnusedFunction]
        """Return the newest provisional verdict on each run in progress."""
        return board.in_progress()

    @router.get("/runs/{run_uid}/provisional")
    def so_far(run_uid: RunUid) -> ProvisionalVerdict:  # pyright: ignore[reportUnusedFunction]
        """Return the newest provisional verdict on a run; 404 before the first one, and once the run has its record."""
        provisional = board.get(run_uid)
        if provisional is None:
            raise HTTPException(404, f"nothing is said of run {run_uid} yet, or it has its record")
        return provisional

    @router.get("/runs")
    def runs(  # pyright: ignore[reportUnusedFunction]
        limit: Annotated[int, Query(ge=1, le=1000, description="At most this many records.")] = 100,
        after: Annotated[str | None, Query(max_length=128, description="Only results older than this run's.")] = None,
        label: Annotated[str | None, Query(max_length=64, description="A class or an outcome, e.g. 'screw'.")] = None,
    ) -> list[ScreeningResult]:
        """Return results newest first; pass the last record's uid as ``after`` to get the next page.

        ``label`` selects a class, partial results included, or an outcome. 404 if the run ``after`` has no result.
        """
        if after is not None:
            result_or_404(store, after)
        if label is None:
            return store.latest(limit, after)
        matching = (
            result for result in _all_results(store, after) if label in {result.verdict.headline, result.verdict.label}
        )
        return list(islice(matching, limit))

    @router.get("/unrecorded")
    def without_record(  # pyright: ignore[reportUnusedFunction]
        limit: Annotated[int, Query(ge=1, le=256, description="At most this many runs.")] = 100,
    ) -> list[UnrecordedRun]:
        """Return the runs since the start that ended without a record, newest first, with why and what they hold."""
        return unrecorded.newest(limit)

    @router.get("/runs.csv")
    def table() -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        """Return every result as CSV, newest first."""
        headers = {"Content-Disposition": 'attachment; filename="braggwatch-runs.csv"'}
        return StreamingResponse(
            csv_lines(lambda: _all_results(store), classes), media_type="text/csv; charset=utf-8", headers=headers
        )

    @router.get("/runs/{run_uid}")
    def run(run_uid: RunUid) -> ScreeningResult:  # pyright: ignore[reportUnusedFunction]
        """Return a run's newest revision; 404 where it has no result."""
        return result_or_404(store, run_uid)

    @router.get("/runs/{run_uid}/result", response_model=ScreeningResult)
    async def wait_for_verdict(  # pyright: ignore[reportUnusedFunction]
        run_uid: RunUid,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the result.")] = 0.0,
    ) -> ScreeningResult | JSONResponse:
        """Wait for a run's result.

        200 with the record as soon as there is one. Without ``wait``, 404 if there is none. With ``wait``, 202 once the
        time is up. A run is only known here once it has a result, so 202 doesn't promise one; ask again. 410 as soon as
        it is known that the run gets none: ``detail`` says why, ``unrecorded`` is as in ``/unrecorded``.
        """
        known = unrecorded.get(run_uid)
        result = await wait_for_result(store, broker, run_uid, 0.0 if known is not None else wait)
        if result is not None:
            return result
        known = known or unrecorded.get(run_uid)
        if known is not None:
            return JSONResponse({"detail": known.in_words, "unrecorded": known.model_dump(mode="json")}, 410)
        if wait > 0:
            return JSONResponse({"detail": f"no result for run {run_uid} yet"}, 202, {"Retry-After": "1"})
        raise HTTPException(404, f"no result for run {run_uid}")

    _add_arrays(router, store)
    return router


def _add_arrays(router: APIRouter, store: ResultSource) -> None:
    @router.get("/runs/{run_uid}/slices", response_class=Response)
    def slices(  # pyright: ignore[reportUnusedFunction]
        run_uid: RunUid,
        axis: Annotated[int | None, Query(ge=0, le=2, description="One plane; all three where absent.")] = None,
        dtype: SliceDtype = "float32",
    ) -> Response:
        """Return central slices of log10(1 + counts), little-endian, C order.

        Headers: ``X-Shape`` (``3,64,64``, or ``64,64`` for one axis), ``X-Dtype``, ``X-Log-Unit`` (the logarithm's
        value of one step; 1 for float32), ``X-Voxel-Size-Inv-A`` (0 where unknown). Plane k is cut at the centre of
        axis k; axis 0 runs along Q.
        """
        result = result_or_404(store, run_uid)
        intensity = store.model_input(run_uid)
        if intensity is None:
            raise HTTPException(404, f"no model input kept for run {run_uid}")
        planes = central_slices(intensity)
        chosen = planes if axis is None else planes[axis]
        body, unit = packed(chosen, dtype)
        headers = {
            "X-Shape": ",".join(str(n) for n in chosen.shape),
            "X-Dtype": dtype,
            "X-Log-Unit": f"{unit:.9g}",
            "X-Voxel-Size-Inv-A": f"{result.quality.voxel_size_inv_A if result.quality else 0.0:.9g}",
        }
        return Response(body, media_type="application/octet-stream", headers=headers)

    @router.get("/runs/{run_uid}/rocking")
    def rocking(run_uid: RunUid) -> RockingPlot:  # pyright: ignore[reportUnusedFunction]
        """Return the rocking curve: summed counts against the scanned angle."""
        result_or_404(store, run_uid)
        curve = store.rocking_curve(run_uid)
        if curve is None:
            raise HTTPException(404, f"no rocking curve kept for run {run_uid}")
        return _plot(curve)

    @router.get("/runs/{run_uid}/model-input.npz", response_class=Response)
    def model_input(run_uid: RunUid) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Return the model input with the record as NPZ (no pickles)."""
        result = result_or_404(store, run_uid)
        intensity = store.model_input(run_uid)
        if intensity is None:
            raise HTTPException(404, f"no model input kept for run {run_uid}")
        name = safe_file_name(run_uid, ".npz")
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(model_input_npz(result, intensity), media_type="application/x-npz", headers=headers)


def _plot(curve: NDArray[np.float64]) -> RockingPlot:
    return RockingPlot(x=_finite(curve[:, 0]), x_label="angle, degrees", counts=_finite(curve[:, 1]))


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
