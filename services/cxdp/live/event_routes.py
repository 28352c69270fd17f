"""What goes on right now: the stream of results, and the wait for one of them."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse

from braggwatch.callbacks.cxdp.records import LiveRecord, ProvisionalVerdict, ScreeningResult
from braggwatch.services.cxdp.live.result_source import ResultSource
from braggwatch.services.live.result_broker import ResultBroker, SlowClientError
from braggwatch.services.page.event_stream import event_stream


def live_router(broker: ResultBroker[LiveRecord]) -> APIRouter:
    """Build ``GET /events``."""
    router = APIRouter()

    @router.get("/events", response_class=EventSourceResponse)
    async def events(request: Request) -> EventSourceResponse:  # pyright: ignore[reportUnusedFunction]
        """Stream results as server-sent events.

        ``event: result`` carries one record as JSON; ``event: provisional`` what is said of a run that goes on, until
        its record comes; ``event: reset`` asks the client to read ``/runs`` anew. Ids are
        ``EPOCH-NUMBER``; a client that names its last one (``Last-Event-ID``) gets what it missed. A client that does
        not read is let go.
        """
        return event_stream(broker, request, _event_name)

    return router


def _event_name(record: LiveRecord) -> str:
    return "provisional" if isinstance(record, ProvisionalVerdict) else "result"


async def wait_for_result(
    store: ResultSource, broker: ResultBroker[LiveRecord], run_uid: str, timeout_s: float
) -> ScreeningResult | None:
    """Return the run's result as soon as it is there, or None after ``timeout_s`` seconds.

    A waiter costs no thread: it watches the events and reads the store before and after, so that a result which was
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
                if isinstance(event.result, ScreeningResult) and event.result.run_uid == run_uid:
                    return event.result
        except SlowClientError:
            return None
    return None
