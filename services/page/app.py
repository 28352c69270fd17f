"""Builds the HTTP application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from braggwatch.services.live.health import Health
from braggwatch.services.live.unrecorded_board import UnrecordedBoard
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.page.guard import Guard, is_loopback, login, usable_tokens
from braggwatch.services.page.operations import operations_router
from braggwatch.services.page.static_pages import STATIC
from braggwatch.services.settings import PageSettings
from braggwatch.sim.errors import InputError


def create_app(
    parts: Sequence[Callable[[FastAPI], None]],
    metrics: Metrics,
    health: Health,
    settings: PageSettings,
    *,
    epoch: int,
    watchers: Callable[[], int],
    unrecorded: UnrecordedBoard | None = None,
) -> FastAPI:
    """Build the application. Starts nothing; the caller closes the arguments.

    Parameters
    ----------
    parts
        Functions that add the routes of each modality.
    epoch
        Number of this start of the service.
    watchers
        Returns the number of clients that follow events.
    unrecorded
        The runs without a record; None: there are none.

    Raises
    ------
    InputError
        If the page would listen beyond loopback without a token.
    """
    loopback = is_loopback(settings.host)
    tokens = usable_tokens(settings.read_token, settings.operate_token)
    if not loopback and not usable_tokens(settings.read_token):
        raise InputError(f"the page would listen on {settings.host} without a token: set read_token")

    # No /docs: FastAPI's documentation pages load scripts from other hosts.
    app = FastAPI(title="Braggwatch", version=_version(), docs_url=None, redoc_url=None)
    for add_routes in parts:
        add_routes(app)
    app.include_router(operations_router(metrics, health, epoch, watchers, unrecorded or UnrecordedBoard()))

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
