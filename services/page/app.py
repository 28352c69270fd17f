"""Puts the HTTP face together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from braggwatch.services.live.health import Health
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
) -> FastAPI:
    """Build the application; it starts nothing and owns none of its arguments.

    Parameters
    ----------
    parts
        What adds each modality's own routes.
    epoch
        Number of this life of the service.
    watchers
        Counts the clients that follow events now.

    Raises
    ------
    InputError
        Where the page would listen beyond loopback without a token.
    """
    loopback = is_loopback(settings.host)
    tokens = usable_tokens(settings.read_token, settings.operate_token)
    if not loopback and not usable_tokens(settings.read_token):
        raise InputError(f"the page would listen on {settings.host} without a token: set read_token")

    # No /docs: FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(title="Braggwatch", version=_version(), docs_url=None, redoc_url=None)
    for add_routes in parts:
        add_routes(app)
    app.include_router(operations_router(metrics, health, epoch, watchers))

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
