"""Notices every run that ends without a record, and says why, so that none vanishes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum, auto
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.contents_book import ContentsBook
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.models.valid_text import SoundText
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_SETTLED: Final = 65_536
_LOG_EVERY_S: Final = 10.0


class RunFate(Enum):
    """What became of a run in one kind of measurement."""

    UNKNOWN = auto()
    """Nothing of it was ever passed on, or it is forgotten."""
    OPEN = auto()
    """It is in progress, or waits for what is still missing."""
    RECORDED = auto()
    """It has its record."""
    IGNORED = auto()
    """It had none of the data looked for."""
    SKIPPED = auto()
    """It is a derived run."""
    EVICTED = auto()
    """Dropped for lack of room, before it showed any data."""


class Cause(StrEnum):
    """Why a run has no record."""

    NO_DETECTOR = "no_detector"
    NO_DATA = "no_data"
    REFUSED = "refused"
    DERIVED = "derived"
    NO_ROOM = "no_room"


class UnrecordedRun(BaseModel):
    """A run that ended without a record, why, and what can be done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: SoundText
    scan_id: int | None
    cause: Cause
    reason: SoundText = Field(description="For people, with what to do about it.")
    noticed_at: FiniteFloat = Field(description="Seconds since the epoch.")
    contents: RunContents = Field(description="What its documents hold.")

    @property
    def in_words(self) -> str:
        """Run and reason in one sentence."""
        return f"run {self.contents.named} gets no record: {self.reason}"


Explain = Callable[[RunContents], str | None]
"""Says what a kind of measurement looked for and didn't find in a run; None if it has nothing to say."""


class UnrecordedRuns:
    """Follows every run by its documents, refused ones too, and reports each that ends without a record.

    Whether a run has its record is asked of those who make records (``fate``), not inferred. Derived runs are expected
    beside raw ones: they are counted, and reported only if they hold what may be detector frames.

    Parameters
    ----------
    fate
        What became of a run in all kinds of measurement together.
    explain
        What was looked for.
    tell
        Called once with each such run.
    silence_s
        A run without a stop document ends after so many seconds without documents.
    """

    def __init__(
        self,
        fate: Callable[[str], RunFate],
        explain: Explain,
        tell: Callable[[UnrecordedRun], None],
        counters: MutableCounters,
        silence_s: float,
    ) -> None:
        self._fate = fate
        self._explain = explain
        self._tell = tell
        self._counters = counters
        self._silence_s = silence_s
        self._book = ContentsBook()
        self._newest_document: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._settled = Bounded[str, None](_SETTLED)
        self._logged_at: dict[int, float] = {}

    def take(self, name: str, doc: Mapping[str, object], refusal: str | None, now: float) -> str | None:
        """Take a document before it is passed on; return the uid of its run, None where it names none.

        Parameters
        ----------
        refusal
            Why it was refused; None if it is valid.
        now
            Monotonic seconds.
        """
        uid, forgotten = self._book.take(name, doc, refusal)
        for contents in forgotten:
            self._settle(contents, self._fate(contents.run_uid), now, is_over=True)
            self._newest_document.pop(contents.run_uid, None)
            self._stopped.discard(contents.run_uid)
        if uid is None:
            return None
        if uid in self._settled:
            self._book.forget(uid)
            return uid
        self._newest_document[uid] = now
        if name == "stop":
            self._stopped.add(uid)
        return uid

    def look(self, now: float) -> None:
        """Report the runs that have ended without a record by now; call it after stop documents and now and then."""
        for uid in self._book.runs:
            stopped, silent = uid in self._stopped, now - self._newest_document.get(uid, now) > self._silence_s
            fate = self._fate(uid)
            if stopped or silent or fate in (RunFate.RECORDED, RunFate.IGNORED):
                self._settle(self._book.contents(uid), fate, now, is_over=stopped or silent)

    def flush(self, now: float) -> None:
        """Report every run that has no record, as at shutdown: nothing more will come of it."""
        for uid in self._book.runs:
            self._settle(self._book.contents(uid), self._fate(uid), now, is_over=True)

    def _settle(self, contents: RunContents, fate: RunFate, now: float, *, is_over: bool) -> None:
        uid = contents.run_uid
        if fate is RunFate.OPEN or (fate is not RunFate.RECORDED and not is_over and fate is not RunFate.IGNORED):
            return
        self._book.forget(uid)
        self._newest_document.pop(uid, None)
        self._stopped.discard(uid)
        self._settled[uid] = None
        if fate is RunFate.RECORDED:
            # Runs that are no rocking curves are normal, but a wrong preset looks the same: a record shows it fits.
            self._counters.newest_unrecorded = None
            return
        cause, reason = self._why(contents, fate)
        self._counters.unrecorded[cause.value] += 1
        if cause is Cause.DERIVED and not contents.images:
            return
        run = UnrecordedRun(
            run_uid=uid,
            scan_id=contents.scan_id,
            cause=cause,
            reason=reason,
            noticed_at=time.time(),
            contents=contents,
        )
        self._counters.newest_unrecorded = run.in_words
        self._log(run, now)
        try:
            self._tell(run)
        except Exception:
            # A listener's failure must not stop the plan, nor hide the other runs.
            logger.exception("run %s has no record, and this could not be told", uid)

    def _log(self, run: UnrecordedRun, now: float) -> None:
        alarming = bool(run.contents.images) or run.cause in (Cause.REFUSED, Cause.NO_ROOM)
        level = logging.WARNING if alarming else logging.INFO
        # Some plans make a run a second: one line tells enough, the counters have them all.
        if now - self._logged_at.get(level, float("-inf")) >= _LOG_EVERY_S:
            self._logged_at[level] = now
            total = self._counters.unrecorded.total()
            logger.log(level, "%s (%d runs without a record so far)", run.in_words, total)

    def _why(self, contents: RunContents, fate: RunFate) -> tuple[Cause, str]:
        if fate is RunFate.SKIPPED:
            return Cause.DERIVED, (
                f"its start document carries original_run_uid ({contents.original_run_uid!r}), so it was taken for a "
                f"derived run; it has {contents.in_words}. If it is a scan, take that key out of its metadata (RE.md)"
            )
        if fate is RunFate.EVICTED:
            return Cause.NO_ROOM, (
                "too many runs were open before any of its data came; see assembly.max_open_runs. It has "
                f"{contents.in_words}"
            )
        refused = "" if not contents.refused else f"{_documents(contents.refused)} refused: {contents.first_refusal}"
        if contents.streams:
            missed = self._explain(contents) or f"nothing to judge; this run has {contents.in_words}"
            return (Cause.REFUSED, f"{missed}; {refused}") if refused else (Cause.NO_DETECTOR, missed)
        if refused:
            return Cause.REFUSED, f"{refused}; the run {contents.ending}"
        announced = "" if not contents.num_points else f", though {contents.num_points} points were announced"
        return Cause.NO_DATA, (
            f"no descriptor came{announced}: the plan took no data, or they were lost on the way; "
            f"the run {contents.ending}"
        )


def _documents(count: int) -> str:
    return "1 of its documents was" if count == 1 else f"{count} of its documents were"
