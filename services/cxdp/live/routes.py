"""The HTTP routes of rocking curves."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI

from braggwatch.callbacks.cxdp.records import LiveRecord
from braggwatch.services.cxdp.live.event_routes import live_router
from braggwatch.services.cxdp.live.explainer import Explainer
from braggwatch.services.cxdp.live.explanation_routes import explanation_router
from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.cxdp.live.result_source import ResultSource
from braggwatch.services.cxdp.live.run_routes import runs_router
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.unrecorded_board import UnrecordedBoard
from braggwatch.services.page.static_pages import add_page


def add_curve_routes(
    app: FastAPI,
    store: ResultSource,
    broker: ResultBroker[LiveRecord],
    board: ProvisionalBoard,
    explainer: Explainer | None,
    classes: Sequence[str],
    unrecorded: UnrecordedBoard | None = None,
) -> None:
    """Add the front page, ``/runs``, ``/unrecorded``, ``/classes``, ``/provisional`` and ``/events``.

    ``classes`` are the model's.
    """
    app.include_router(runs_router(store, broker, board, unrecorded or UnrecordedBoard(), classes))
    app.include_router(explanation_router(store, explainer))
    app.include_router(live_router(broker))
    add_page(app, "/", "index.html")
