"""Routes for live results: the event stream, and waiting for one result."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse

from braggwatch.callbacks.cxdp.records import LiveRecord, ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.services.cxdp.live.result_source import ResultSource
from braggwatch.services.live.result_broker import ResultBroker, SlowClientError
from braggwatch.services.page.event_stream import event_stream


def live_router(broker: ResultBroker[LiveRecord]) -> APIRouter:
    """Build ``GET /events``."""
    router = APIRouter()

    @router.get("/events", response_class=EventSourceResponse)
    async def events(request: Request) -> EventSourceResponse:  # pyright: ignore[reportUnusedFunction]
        """Stream results as server-sent events.

        ``event: result`` carries one record as JSON; ``event: provisional`` a provisional verdict on a run in progress;
        ``event: unrecorded`` a run that ended without a record, with the reason; ``event: reset`` asks the client to
        read ``/runs`` again. Ids are ``EPOCH-NUMBER``; a client that sends its last one (``Last-Event-ID``) gets what
        it missed. A client that doesn't read is dropped.
        """
        return event_stream(broker, request, _event_name)

    return router


def _event_name(record: LiveRecord) -> str:
    if isinstance(record, UnrecordedRun):
        return "unrecorded"
    return "provisional" if isinstance(record, ProvisionalVerdict) else "result"


async def wait_for_result(
    store: ResultSource, broker: ResultBroker[LiveRecord], run_uid: str, timeout_s: float
) -> ScreeningResult | None:
    """Return the run's result as soon as it is available; None after ``timeout_s`` seconds, or if it gets none.

    Waiting needs no thread: it follows the events and reads the store before and after subscribing, so that a result
    published in between isn't missed.
    """
    result = await run_in_threadpool(store.get, run_uid)
    if result is not None or timeout_s <= 0:
        return result
    watching = asyncio.create_task(_watch(broker, run_uid))
    try:
        await asyncio.sleep(0)
        result = await run_in_threadpool(store.get, run_uid)
        if result is not None:
            return result
        await asyncio.wait({watching}, timeout=timeout_s)
        if watching.done():
            result = watching.result()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return result or await run_in_threadpool(store.get, run_uid)


async def _watch(broker: ResultBroker[LiveRecord], run_uid: str) -> ScreeningResult | None:
    async with contextlib.aclosing(broker.subscribe()) as events:
        try:
            async for event in events:
                if isinstance(event.result, ProvisionalVerdict) or event.result is None:
                    continue
                if event.result.run_uid == run_uid:
                    return event.result if isinstance(event.result, ScreeningResult) else None
        except SlowClientError:
            return None
    return None
