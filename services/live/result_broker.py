"""Hands each new result to whoever watches: bounded, and a watcher that does not keep up is let go."""

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
        ``"EPOCH-NUMBER"``: the number counts from 1 within one life of the service, the epoch tells lives apart.
    result
        None for a ``reset``: what the client asked to resume from is not here any more, it must load afresh.
    """

    id: str
    result: Record | None

    @property
    def is_reset(self) -> bool:
        """True where the client must reload its table from the store."""
        return self.result is None


class SlowClientError(BraggwatchError):
    """Raised inside a subscription whose client did not read for a whole queue's length."""


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
    """Fans results out to any number of clients; `publish` never waits for one of them.

    Parameters
    ----------
    epoch
        Number of this life of the service, as the store gives it out.
    queue_size
        Events a client may fall behind before it is dropped.
    history
        Events kept so that a client which reconnects resumes without a reload.
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
        """How many subscriptions are open."""
        with self._lock:
            return len(self._subscriptions)

    @property
    def dropped_clients(self) -> int:
        """How many clients were dropped because they did not read."""
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
        """End every subscription, so that a server can stop while clients are connected."""
        with self._lock:
            self._closed = True
            for subscription in self._subscriptions:
                _offer(subscription, None)

    async def subscribe(self, last_event_id: str | None = None) -> AsyncGenerator[PublishedResult[Record], None]:
        """Yield events as they come, first those missed since ``last_event_id``.

        Raises
        ------
        SlowClientError
            When the client fell ``queue_size`` events behind; it may reconnect and will be told to reload.
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
    # The loop of a client that is just going away may be closed: nobody is left to tell.
    if not subscription.loop.is_closed():
        subscription.loop.call_soon_threadsafe(subscription.offer, event)
