"""The interface of a modality to the running service: it classifies, stores, shows and publishes its own data.

A modality's package implements `LiveModality` and provides a function that opens it, which the composition lists. The
worker, the page and the feedback know nothing else about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict
from braggwatch.callbacks.documents.stream import DocumentStream
from braggwatch.services.live.instruments import Instruments
from braggwatch.services.live.outbox import Outbox
from braggwatch.services.settings import Settings
from braggwatch.services.storage.result_store import ResultStore

if TYPE_CHECKING:
    from fastapi import FastAPI


@dataclass(frozen=True, slots=True)
class Arrival:
    """When the current document arrived, and when the worker started on it.

    Attributes
    ----------
    received_at, begun_at
        Monotonic clock, seconds; the difference is the time in the queue.
    """

    received_at: float
    begun_at: float

    @property
    def waited_s(self) -> float:
        """Seconds in the queue."""
        return self.begun_at - self.received_at


@dataclass(frozen=True, slots=True)
class WorkerLinks:
    """What a modality's callback gets from the worker that drives it.

    Attributes
    ----------
    is_behind
        True while documents wait: optional work may be skipped.
    on_provisional
        Passes each provisional verdict to the feedback sinks. Doesn't block.
    """

    is_behind: Callable[[], bool]
    on_provisional: Callable[[ProvisionalVerdict], None]


@dataclass(frozen=True, slots=True)
class LiveContext:
    """What a modality is opened with."""

    settings: Settings
    store: ResultStore
    instruments: Instruments


class LiveModality(Protocol):
    """One modality in a running service.

    `flush` and `retry` are called by the worker alone, in the thread that drives the stream.
    """

    name: ClassVar[str]
    """One word, as used in URLs and bundle names."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of its model; empty if it has none."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The stored records to be delivered to the feedback sinks."""
        ...

    @property
    def watchers(self) -> int:
        """Number of clients that follow its records over HTTP."""
        ...

    def add_routes(self, app: FastAPI) -> None:
        """Add its HTTP routes."""
        ...

    def open_stream(self, links: WorkerLinks) -> DocumentStream:
        """Make the callback that classifies; called once, when the worker starts."""
        ...

    def prepare(self) -> Sequence[str]:
        """Compile kernels and run the model once, in the worker's thread, before the service is ready.

        If it raises, the service is not ready, with the reason; documents are still received, and their runs get the
        callback's error outcome.

        Returns
        -------
        Sequence[str]
            Limitations, for the operator: with any the service is ready, but degraded.
        """
        ...

    def flush(self, arrival: Arrival | None = None, *, force: bool = False) -> None:
        """Store what the callback has reported, then announce it: nothing is announced that could still be lost.

        Parameters
        ----------
        arrival
            Of the document that led to the reports; None if they follow from a timeout.
        force
            Store now, even if a batch is not full.
        """
        ...

    def retry(self) -> int:
        """Retry records that could not be written to disk; return how many still wait in memory."""
        ...

    def close(self) -> None:
        """Disconnect the watchers and end threads. Idempotent; the store stays open."""
        ...


ModalityFactory = Callable[[LiveContext], LiveModality]
"""Opens a modality: loads its models, but starts nothing.

Raises `SettingsError` if a file named in the settings can't be used, and whatever loading its model raises.
"""
