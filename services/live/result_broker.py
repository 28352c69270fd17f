"""Distributes new results to watching clients through bounded queues; a client that falls behind is dropped."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Generic, TypeVar

from braggwatch.sim.errors import BraggwatchError

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class PublishedResult(Generic[Record]):
    """One published result.

    Attributes
    ----------
    id
        ``"EPOCH-NUMBER"``: the number counts from 1 at each start of the service, the epoch identifies the start.
    result
        None for a ``reset``: the event to resume from is no longer available, the client must reload.
    """

    id: str
    result: Record | None

    @property
    def is_reset(self) -> bool:
        """Whether the client must reload its table from the store."""
        return self.result is None


class SlowClientError(BraggwatchError):
    """Raised in a subscription whose client fell behind by more than its queue holds."""


class _Subscription(Generic[Record]):
    def __init__(self, loop: asyncio.AbstractEventLoop, capacity: int) -> None:
        self.loop = loop
        self.queue: asyncio.Queue[PublishedResult[Record] | None] = asyncio.Queue(maxsize=capacity + 1)
        self.capacity = capacity
        self.overrun = False

    def offer(self, event: PublishedResult[Record] | None) -> None:
        """Add one event (None ends the subscription); runs in the subscriber's event loop."""
        if self.overrun:
            return
        if event is not None and self.queue.qsize() >= self.capacity:
            self.overrun = True
            event = None
        if not self.queue.full():
            self.queue.put_nowait(event)


class ResultBroker(Generic[Record]):
    """Sends results to any number of clients; `publish` never waits for a client.

    Parameters
    ----------
    epoch
        Number of this start of the service, from the store.
    queue_size
        Events a client may fall behind before it is dropped.
    history
        Events kept so that a client can reconnect without a reload.
    """

    def __init__(self, epoch: int, *, queue_size: int = 256, history: int = 512) -> None:
        self.epoch = epoch
        self._queue_size = queue_size
        self._history: deque[tuple[int, PublishedResult[Record]]] = deque(maxlen=history)
        self._number = 0
        self._dropped = 0
        self._closed = False
        self._lock = threading.Lock()
        self._subscriptions: set[_Subscription[Record]] = set()

    @property
    def clients(self) -> int:
        """Number of open subscriptions."""
        with self._lock:
            return len(self._subscriptions)

    @property
    def dropped_clients(self) -> int:
        """Number of clients dropped because they fell behind."""
        return self._dropped

    def publish(self, result: Record) -> None:
        """Offer a result to every client. Callable from any thread."""
        with self._lock:
            self._number += 1
            event = PublishedResult(id=f"{self.epoch}-{self._number}", result=result)
            self._history.append((self._number, event))
            for subscription in self._subscriptions:
                _offer(subscription, event)

    def close(self) -> None:
        """End every subscription, so that the server can stop while clients are connected."""
        with self._lock:
            self._closed = True
            for subscription in self._subscriptions:
                _offer(subscription, None)

    async def subscribe(self, last_event_id: str | None = None) -> AsyncGenerator[PublishedResult[Record], None]:
        """Yield events as they arrive, starting with those missed since ``last_event_id``.

        Raises
        ------
        SlowClientError
            If the client fell ``queue_size`` events behind; it may reconnect and will be told to reload.
        """
        subscription = _Subscription[Record](asyncio.get_running_loop(), self._queue_size)
        with self._lock:
            missed = self._missed_since(last_event_id)
            if self._closed:
                return
            self._subscriptions.add(subscription)
        try:
            for event in missed:
                yield event
            while (event := await subscription.queue.get()) is not None:
                yield event
            if subscription.overrun:
                self._dropped += 1
                raise SlowClientError(f"client fell more than {self._queue_size} events behind")
        finally:
            with self._lock:
                self._subscriptions.discard(subscription)

    def _missed_since(self, last_event_id: str | None) -> list[PublishedResult[Record]]:
        if last_event_id is None:
            return []
        epoch, _, number = last_event_id.partition("-")
        reset = PublishedResult(id=f"{self.epoch}-{self._number}", result=None)
        if epoch != str(self.epoch) or not number.isascii() or not number.isdecimal() or len(number) > 18:
            return [reset]
        last = int(number)
        oldest = self._history[0][0] if self._history else self._number + 1
        if last > self._number or last < oldest - 1:
            return [reset]
        return [event for position, event in self._history if position > last]


def _offer(subscription: _Subscription[Record], event: PublishedResult[Record] | None) -> None:
    # The event loop of a disconnecting client may be closed already.
    if not subscription.loop.is_closed():
        subscription.loop.call_soon_threadsafe(subscription.offer, event)
