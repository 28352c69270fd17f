"""What a callback must have that takes its part of a stream of documents which others read too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from braggwatch.callbacks.documents.counters import AssemblyCounters
from braggwatch.callbacks.documents.intake import KnownDocument


class DocumentStream(Protocol):
    """One kind of measurement: works alone, or beside others in a `ModalityCallback`. None of it may raise."""

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document as it comes: alone, with ``RE.subscribe(...)``."""
        ...

    def take(self, documents: Sequence[KnownDocument], now: float) -> None:
        """Take what one document brought, checked, without what belongs to others; ``now`` in monotonic seconds."""
        ...

    def claims(self, start: Mapping[str, object] | None, descriptor: Mapping[str, object]) -> frozenset[str]:
        """Return the data keys that a checked descriptor declares as this kind's, so that no other gets them.

        Parameters
        ----------
        start
            The run's start document, None where it has not come.
        """
        ...

    def leave_to_others(self, run_uid: str) -> None:
        """Take note that another stream has claimed data keys of this run, and makes a record of it."""
        ...

    def expire(self, now_monotonic: float) -> None:
        """End what is over; call it about once a second."""
        ...

    def flush(self) -> None:
        """End and report every open run, as at shutdown."""
        ...

    @property
    def open_runs(self) -> int:
        """Runs that have begun and not ended."""
        ...

    @property
    def counters(self) -> AssemblyCounters:
        """Totals since the beginning, as they are now."""
        ...
