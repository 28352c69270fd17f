"""Counters of the assembly: everything dropped is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from braggwatch.callbacks.documents.document_checks import RejectedDocument

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AssemblyCounters:
    """A snapshot, totals since the assembly began.

    If several kinds of measurement are read from one stream, each sees every run: in their sum, a run or a late
    document counts once for each kind that it concerns.

    Attributes
    ----------
    rejected
        Reason → documents that could not be used.
    late
        Documents that arrived after their run had its record, or whose parent document never arrived.
    duplicates
        Documents that were already known.
    evictions
        Runs dropped because too many were open or too many bytes held.
    joined_late
        Runs whose start document was lost.
    ignored_runs, skipped_runs
        Runs without any of the expected detectors; derived runs (``original_run_uid``).
    unrecorded
        Cause → runs that ended without a record of any kind.
    newest_unrecorded
        Which was the newest of them, and why; None once a later run has its record.
    runs
        Ending → runs.
    frames_expected, frames_received
        Over all ended runs; frames that the documents never announced count in neither.
    frames_contradicted
        Of those received, frames of rocking curves that count as missing because their neighbours contradict them.
    """

    rejected: Mapping[str, int] = field(default_factory=dict[str, int])
    late: int = 0
    duplicates: int = 0
    evictions: int = 0
    joined_late: int = 0
    ignored_runs: int = 0
    skipped_runs: int = 0
    unrecorded: Mapping[str, int] = field(default_factory=dict[str, int])
    newest_unrecorded: str | None = None
    runs: Mapping[str, int] = field(default_factory=dict[str, int])
    frames_expected: int = 0
    frames_received: int = 0
    frames_contradicted: int = 0

    @property
    def without_detector(self) -> int:
        """Runs without a record that had no frames of the detector looked for, or no data."""
        return self.unrecorded.get("no_detector", 0) + self.unrecorded.get("no_data", 0)

    def __add__(self, other: AssemblyCounters) -> AssemblyCounters:
        """Return the totals of both."""
        return AssemblyCounters(
            rejected=MappingProxyType(Counter(self.rejected) + Counter(other.rejected)),
            late=self.late + other.late,
            duplicates=self.duplicates + other.duplicates,
            evictions=self.evictions + other.evictions,
            joined_late=self.joined_late + other.joined_late,
            ignored_runs=self.ignored_runs + other.ignored_runs,
            skipped_runs=self.skipped_runs + other.skipped_runs,
            unrecorded=MappingProxyType(Counter(self.unrecorded) + Counter(other.unrecorded)),
            newest_unrecorded=self.newest_unrecorded or other.newest_unrecorded,
            runs=MappingProxyType(Counter(self.runs) + Counter(other.runs)),
            frames_expected=self.frames_expected + other.frames_expected,
            frames_received=self.frames_received + other.frames_received,
            frames_contradicted=self.frames_contradicted + other.frames_contradicted,
        )


@dataclass(slots=True)
class MutableCounters:
    """The counters while they are updated."""

    rejected: Counter[str] = field(default_factory=Counter[str])
    runs: Counter[str] = field(default_factory=Counter[str])
    late: int = 0
    duplicates: int = 0
    evictions: int = 0
    joined_late: int = 0
    ignored_runs: int = 0
    skipped_runs: int = 0
    unrecorded: Counter[str] = field(default_factory=Counter[str])
    newest_unrecorded: str | None = None
    frames_expected: int = 0
    frames_received: int = 0
    frames_contradicted: int = 0

    def reject(self, rejection: RejectedDocument, run_uid: str | None = None) -> None:
        """Count an unusable document, and log why, and of which run it is where that is known."""
        self.rejected[rejection.reason] += 1
        of_run = "" if run_uid is None else f" of run {run_uid}"
        logger.warning("document%s rejected (%s): %s", of_run, rejection.reason, rejection)

    def snapshot(self) -> AssemblyCounters:
        """Return the counts as they are now."""
        return AssemblyCounters(
            rejected=MappingProxyType(dict(self.rejected)),
            late=self.late,
            duplicates=self.duplicates,
            evictions=self.evictions,
            joined_late=self.joined_late,
            ignored_runs=self.ignored_runs,
            skipped_runs=self.skipped_runs,
            unrecorded=MappingProxyType(dict(self.unrecorded)),
            newest_unrecorded=self.newest_unrecorded,
            runs=MappingProxyType(dict(self.runs)),
            frames_expected=self.frames_expected,
            frames_received=self.frames_received,
            frames_contradicted=self.frames_contradicted,
        )
