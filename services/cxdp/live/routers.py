"""The part of the HTTP face that shows rocking curves."""

from __future__ import annotations

from fastapi import APIRouter

from braggwatch.callbacks.records import LiveRecord
from braggwatch.services.events import EventBroker
from braggwatch.services.explaining import Explainer
from braggwatch.services.page.api import runs_router
from braggwatch.services.page.explanation import explanation_router
from braggwatch.services.page.live import live_router
from braggwatch.services.page.sources import ResultSource
from braggwatch.services.page.static_pages import page_router
from braggwatch.services.provisional_board import ProvisionalBoard


def curve_routers(
    store: ResultSource, broker: EventBroker[LiveRecord], board: ProvisionalBoard, explainer: Explainer | None
) -> tuple[APIRouter, ...]:
    """Build the front page, ``/runs``, ``/provisional`` and ``/events``."""
    return (
        runs_router(store, broker, board),
        explanation_router(store, explainer),
        live_router(broker),
        page_router("/", "index.html"),
    )
