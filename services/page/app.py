"""Puts the HTTP face together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from braggwatch.callbacks.records import LiveRecord
from braggwatch.services.events import EventBroker
from braggwatch.services.explaining import Explainer
from braggwatch.services.health import Health
from braggwatch.services.metrics import Metrics
from braggwatch.services.page.api import runs_router
from braggwatch.services.page.explanation import explanation_router
from braggwatch.services.page.guard import Guard, is_loopback, login
from braggwatch.services.page.live import live_router
from braggwatch.services.page.operations import operations_router
from braggwatch.services.page.patterns import patterns_router
from braggwatch.services.page.sources import ResultSource
from braggwatch.services.pattern_desk import PatternDesk
from braggwatch.services.provisional_board import ProvisionalBoard
from braggwatch.services.settings import PageSettings

STATIC = Path(__file__).resolve().parent / "static"


def create_app(
    store: ResultSource,
    broker: EventBroker[LiveRecord],
    metrics: Metrics,
    health: Health,
    settings: PageSettings,
    explainer: Explainer | None = None,
    patterns: PatternDesk | None = None,
    board: ProvisionalBoard | None = None,
    *,
    classes: Sequence[str] = (),
) -> FastAPI:
    """Build the application; it starts nothing and owns none of its arguments.

    Parameters
    ----------
    classes
        That the model may name, in the order of its outputs; those of records by other models are added to them.

    Raises
    ------
    ValueError
        Where the page would listen beyond loopback without a token.
    """
    loopback = is_loopback(settings.host)
    tokens = tuple(t.get_secret_value() for t in (settings.read_token, settings.operate_token) if t is not None)
    if not loopback and settings.read_token is None:
        raise ValueError(f"the page would listen on {settings.host} without a token: set read_token")

    # No /docs: FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(title="Braggwatch", version=_version(), docs_url=None, redoc_url=None)
    app.include_router(runs_router(store, broker, board or ProvisionalBoard(broker), classes))
    app.include_router(explanation_router(store, explainer))
    app.include_router(live_router(broker))
    app.include_router(operations_router(metrics, health, broker))
    if patterns is not None:
        app.include_router(patterns_router(patterns))

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/sadp", include_in_schema=False)
    def patterns_page() -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        return FileResponse(STATIC / "patterns.html", headers={"Cache-Control": "no-cache"})

    @app.post("/login", include_in_schema=False)
    async def enter(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return await login(request, tokens)

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, tokens=tokens, loopback_only=loopback)
    return app


def _version() -> str:
    try:
        return version("braggwatch")
    except PackageNotFoundError:
        return "unknown"
