"""Interface of a callback that shares a stream of documents with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.counters import AssemblyCounters
from braggwatch.callbacks.documents.intake import KnownDocument
from braggwatch.callbacks.documents.unrecorded import RunFate


class DocumentStream(Protocol):
    """One kind of measurement: works alone, or with others in a `ModalityCallback`. No method may raise."""

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document; for use alone, with ``RE.subscribe(...)``."""
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

    def fate(self, run_uid: str) -> RunFate:  # noqa: ARG002 for those who know more
        """Return what became of a run; a kind that can't tell has the runs whose data keys it claimed left to it."""
        return RunFate.UNKNOWN

    def why_unrecorded(self, contents: RunContents) -> str | None:  # noqa: ARG002
        """Say what was looked for and not found in a run without a record; None if there is nothing to say."""
        return None

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
