"""Electron diffraction over HTTP: particles as they stand, their patterns, pictures, and the events of both."""

from __future__ import annotations

import json
from typing import Annotated

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from sse_starlette import EventSourceResponse

from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunResult
from braggwatch.services.page.event_stream import event_stream
from braggwatch.services.page.run_uid import RunUid
from braggwatch.services.page.static_pages import add_page
from braggwatch.services.sadp.live.pattern_desk import PatternDesk

ParticleName = Annotated[str, Path(min_length=1, max_length=128, description="Name of the particle, URL-encoded.")]


class OddsHistory(BaseModel):
    """How P(space group) of a particle went, pattern by pattern."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: tuple[int, ...]
    usable: tuple[bool, ...]
    product: dict[str, tuple[float, ...]]
    mean: dict[str, tuple[float, ...]]


def add_pattern_routes(app: FastAPI, desk: PatternDesk) -> None:
    """Add the page ``/sadp`` and everything under it."""
    app.include_router(_router(desk))
    add_page(app, "/sadp", "patterns.html")


def _router(desk: PatternDesk) -> APIRouter:
    router = APIRouter(prefix="/sadp")
    store = desk.store

    @router.get("/particles")
    def particles(  # pyright: ignore[reportUnusedFunction]
        limit: Annotated[int, Query(ge=1, le=1000, description="At most this many.")] = 100,
    ) -> list[ParticleState]:
        """Return particles as they stand, those with the newest patterns first."""
        return store.particles(limit)

    @router.get("/runs/{run_uid}")
    def run(run_uid: RunUid) -> PatternRunResult:  # pyright: ignore[reportUnusedFunction]
        """Return the final record of a run of patterns; 404 while it goes on."""
        found = store.run(run_uid)
        if found is None:
            raise HTTPException(404, f"no record of a run of patterns {run_uid}")
        return found

    @router.get("/runs/{run_uid}/particles/{particle:path}/patterns")
    def patterns(  # pyright: ignore[reportUnusedFunction]
        run_uid: RunUid,
        particle: ParticleName,
        limit: Annotated[int, Query(ge=1, le=10_000, description="At most this many, the newest.")] = 1000,
    ) -> list[PatternResult]:
        """Return the records of a particle's patterns in the order in which they were judged."""
        _particle_or_404(desk, run_uid, particle)
        return store.patterns(run_uid, particle, limit)

    @router.get("/runs/{run_uid}/particles/{particle:path}/history")
    def history(  # pyright: ignore[reportUnusedFunction]
        run_uid: RunUid,
        particle: ParticleName,
        limit: Annotated[int, Query(ge=1, le=10_000, description="At most this many, the newest.")] = 300,
    ) -> OddsHistory:
        """Return the odds after each of a particle's newest patterns."""
        _particle_or_404(desk, run_uid, particle)
        return _history(store.patterns(run_uid, particle, limit))

    @router.get("/runs/{run_uid}/particles/{particle:path}/picture", response_class=Response)
    def picture(run_uid: RunUid, particle: ParticleName) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Return the particle's newest pattern: one byte a pixel, logarithmic, C order.

        Headers: ``X-Shape`` (``rows,columns``), ``X-Seq-Num``, ``X-Centre`` (``x,y`` of the direct beam, empty where
        none was found), ``X-Inv-Nm-Per-Px`` (0 where unknown) and ``X-Spots``: JSON, [x, y, relative intensity] each.
        """
        _particle_or_404(desk, run_uid, particle)
        found = desk.picture(run_uid, particle)
        if found is None:
            raise HTTPException(404, f"no picture of particle {particle} in run {run_uid}")
        headers = {
            "X-Shape": ",".join(str(side) for side in found.pixels.shape),
            "X-Seq-Num": str(found.seq_num),
            "X-Centre": "" if found.centre is None else f"{found.centre[0]:.2f},{found.centre[1]:.2f}",
            "X-Inv-Nm-Per-Px": f"{found.inv_nm_per_px or 0.0:.9g}",
            "X-Spots": json.dumps(np.round(found.spots, 3).tolist()),
        }
        return Response(found.pixels.tobytes(), media_type="application/octet-stream", headers=headers)

    @router.get("/events", response_class=EventSourceResponse)
    async def events(request: Request) -> EventSourceResponse:  # pyright: ignore[reportUnusedFunction]
        """Stream particles as they change: ``event: particle`` with the record, ``event: reset`` asks to read anew."""
        return event_stream(desk.broker, request, lambda _: "particle")

    return router


def _particle_or_404(desk: PatternDesk, run_uid: str, particle: str) -> ParticleState:
    found = desk.store.particle(run_uid, particle)
    if found is None:
        raise HTTPException(404, f"no particle {particle} in run {run_uid}")
    return found


def _history(patterns: list[PatternResult]) -> OddsHistory:
    names = tuple(dict.fromkeys(name for one in patterns for name in one.crystal.product))
    return OddsHistory(
        number=tuple(one.number for one in patterns),
        usable=tuple(one.set_aside is None for one in patterns),
        product={name: tuple(one.crystal.product.get(name, 0.0) for one in patterns) for name in names},
        mean={name: tuple(one.crystal.mean.get(name, 0.0) for one in patterns) for name in names},
    )
