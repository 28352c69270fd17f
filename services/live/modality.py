"""What a modality is to the running service: an object that judges, stores, shows and tells of what is its own.

A modality's own room implements `LiveModality` and offers a function that opens it, which the composition lists. The
worker, the page and the feedback know nothing else of it.
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
    """When the document in hand came, and when the worker took it up.

    Attributes
    ----------
    received_at, begun_at
        Monotonic clock, seconds; what lies between is the time in the queue.
    """

    received_at: float
    begun_at: float

    @property
    def waited_s(self) -> float:
        """Seconds in the queue."""
        return self.begun_at - self.received_at


@dataclass(frozen=True, slots=True)
class WorkerLinks:
    """What a modality's callback may ask of, and tell, the worker that drives it.

    Attributes
    ----------
    is_behind
        True while documents wait: what can be left out may be left out.
    on_provisional
        Takes each verdict on a run that goes on, for the feedback sinks. Returns at once.
    """

    is_behind: Callable[[], bool]
    on_provisional: Callable[[ProvisionalVerdict], None]


@dataclass(frozen=True, slots=True)
class LiveContext:
    """What a modality is made from."""

    settings: Settings
    store: ResultStore
    instruments: Instruments


class LiveModality(Protocol):
    """One modality in a running service.

    `flush` and `retry` are called by the worker alone, in the thread that drives the stream.
    """

    name: ClassVar[str]
    """One word, as in the URLs and the names of bundles."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that its verdicts choose among; empty where it has no model."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The stored records as the feedback sinks are given them."""
        ...

    @property
    def watchers(self) -> int:
        """How many clients follow its records over HTTP."""
        ...

    def add_routes(self, app: FastAPI) -> None:
        """Add its part of the HTTP face."""
        ...

    def open_stream(self, links: WorkerLinks) -> DocumentStream:
        """Make the callback that judges; called once, when the worker starts."""
        ...

    def prepare(self) -> Sequence[str]:
        """Compile kernels and run the model once for real, in the worker's thread, before the service is ready.

        What it raises makes the service not ready, with the reason; documents are received all the same, and their
        runs get the callback's own error outcome.

        Returns
        -------
        Sequence[str]
            Shortcomings in words: with one the service is ready, and degraded.
        """
        ...

    def flush(self, arrival: Arrival | None = None, *, force: bool = False) -> None:
        """Store what the callback has reported, and then tell of it: nothing is told that could be forgotten.

        Parameters
        ----------
        arrival
            Of the document whose reports these are; None where they come of the passing of time.
        force
            Store now what might wait to be stored with more.
        """
        ...

    def retry(self) -> int:
        """Try to write what the disk refused; return how many records still wait in memory."""
        ...

    def close(self) -> None:
        """Let the watchers go and end threads; does nothing the second time. The store stays open."""
        ...


ModalityFactory = Callable[[LiveContext], LiveModality]
"""Opens a modality: loads its models, and starts nothing.

Raises `SettingsError` where a file that the settings name can't be used, and whatever loading its model raises.
"""
