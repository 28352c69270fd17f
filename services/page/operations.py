"""Routes for operators and supervisors: liveness, readiness, metrics, and the status in the page's header."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from braggwatch.services.live.health import Health, HealthReport, HealthState
from braggwatch.services.live.unrecorded_board import UnrecordedBoard
from braggwatch.services.metrics.prometheus import METRICS_CONTENT_TYPE, Metrics


class ServiceStatus(BaseModel):
    """Everything the page's header shows; None where unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    state: HealthState
    reasons: tuple[str, ...]
    connected: bool
    last_document_age_s: float | None
    lag_s: float | None
    lost_documents: int
    rejected_documents: int
    runs_shed: int
    runs_unrecorded: int
    newest_unrecorded: str | None
    runs_open: int
    queue_documents: int
    store_pending: int
    watchers: int
    model_id: str | None
    model_sha256: str | None
    runtime: str | None


def operations_router(
    metrics: Metrics, health: Health, epoch: int, watchers: Callable[[], int], unrecorded: UnrecordedBoard
) -> APIRouter:
    """Build ``/livez``, ``/readyz``, ``/metrics`` and ``/status``.

    Parameters
    ----------
    epoch
        Number of this start of the service.
    watchers
        Returns the number of clients that follow events.
    unrecorded
        The runs without a record.
    """
    router = APIRouter()

    @router.get("/livez")
    def livez() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Return 200 while the pipeline's loop runs, else 503: restart the service."""
        report = health.report()
        return _report(report, is_good=report.live)

    @router.get("/readyz")
    def readyz() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Return 200 if a run that arrives now would be classified (also ``degraded``), else 503, with the reasons."""
        report = health.report()
        return _report(report, is_good=report.ready)

    @router.get("/metrics")
    def exposition() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Return the metrics in the Prometheus text format."""
        return Response(metrics.exposition(), media_type=METRICS_CONTENT_TYPE)

    @router.get("/status")
    def status() -> ServiceStatus:  # pyright: ignore[reportUnusedFunction]
        """Return what the page's header shows."""
        return _status(metrics, health, epoch, watchers(), unrecorded)

    return router


def _report(report: HealthReport, *, is_good: bool) -> JSONResponse:
    return JSONResponse(report.model_dump(mode="json"), 200 if is_good else 503)


def _status(metrics: Metrics, health: Health, epoch: int, watchers: int, unrecorded: UnrecordedBoard) -> ServiceStatus:
    now = metrics.snapshot()
    report = health.report()
    age_s = None if now.last_document_at is None else max(0.0, time.time() - now.last_document_at)
    return ServiceStatus(
        epoch=epoch,
        state=report.state,
        reasons=report.reasons,
        connected=now.is_connected,
        last_document_age_s=age_s,
        lag_s=now.last_latency_s,
        lost_documents=now.documents_lost,
        rejected_documents=now.documents_rejected,
        runs_shed=now.runs_shed,
        runs_unrecorded=unrecorded.total,
        newest_unrecorded=next((run.in_words for run in unrecorded.newest(1)), None),
        runs_open=now.runs_open,
        queue_documents=now.queue_documents,
        store_pending=now.store_pending,
        watchers=watchers,
        model_id=now.model and now.model.id,
        model_sha256=now.model and now.model.sha256,
        runtime=now.model and now.model.runtime,
    )
