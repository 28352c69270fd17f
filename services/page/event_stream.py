"""Published records as server-sent events, one way for every system."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent

from braggwatch.services.live.result_broker import ResultBroker, SlowClientError

Record = TypeVar("Record", bound=BaseModel)

_PING_S = 10


def event_stream(
    broker: ResultBroker[Record], request: Request, event_name: Callable[[Record], str]
) -> EventSourceResponse:
    """Answer with a stream of events: each record as JSON, ``reset`` where the client must read everything anew.

    A client that names the last event it saw (``Last-Event-ID``) gets what it missed; one that doesn't read is let go.

    Parameters
    ----------
    event_name
        Returns what a record's event is called.
    """
    return EventSourceResponse(_events(broker, request.headers.get("last-event-id"), event_name), ping=_PING_S)


async def _events(
    broker: ResultBroker[Record], last_event_id: str | None, event_name: Callable[[Record], str]
) -> AsyncIterator[ServerSentEvent]:
    async with contextlib.aclosing(broker.subscribe(last_event_id)) as events:
        try:
            async for event in events:
                record = event.result
                if record is None:
                    yield ServerSentEvent(data="{}", event="reset", id=event.id)
                else:
                    yield ServerSentEvent(data=record.model_dump_json(), event=event_name(record), id=event.id)
        except SlowClientError:
            return
