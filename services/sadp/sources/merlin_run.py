"""Publish a Merlin detector's frames as one Bluesky run: one zone visit per acquisition, missing frames counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from pydantic import BaseModel, ConfigDict, Field

from braggwatch.services.sadp.sources.merlin_stream import Acquisition, MerlinError, MerlinFrame
from braggwatch.services.sadp.sources.pattern_documents import PatternFacts, PatternRunWriter, PatternSource, Publish

logger = logging.getLogger(__name__)


class MerlinReport(BaseModel):
    """What was published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: str | None = Field(default=None, description="None if no frame arrived.")
    acquisitions: int = 0
    frames: int = Field(default=0, description="Frames received.")
    published: int = 0
    missing: int = Field(default=0, description="Frames missing according to frame numbers or announced counts.")
    problem: str | None = Field(default=None, description="Why it ended early.")


def publish_merlin(
    messages: Iterable[Acquisition | MerlinFrame],
    publish: Publish,
    source: PatternSource,
    *,
    every: int = 1,
    acquisitions: int | None = None,
    progress: Callable[[MerlinReport], None] | None = None,
) -> MerlinReport:
    """Publish frames until the messages end, or ``acquisitions`` announced acquisitions are complete.

    If the stream breaks off, the run ends as failed with the frames published so far, and the report says why.

    Parameters
    ----------
    every
        Publish only every n-th frame of an acquisition, starting with the first.
    """
    counter = _Counter(publish, source, every)
    try:
        for message in messages:
            counter.take(message)
            if progress is not None:
                progress(counter.report)
            if acquisitions is not None and counter.complete >= acquisitions:
                break
    except MerlinError as error:
        return counter.end(str(error))
    except BaseException as error:
        counter.end(f"{type(error).__name__}: {error}"[:300])
        raise
    return counter.end(None)


class _Counter:
    def __init__(self, publish: Publish, source: PatternSource, every: int) -> None:
        self._publish = publish
        self._source = source
        self._every = every
        self._writer: PatternRunWriter | None = None
        self._announced: int | None = None
        self._last = 0
        self._missing = 0
        self.acquisitions = 0
        self.frames = 0
        self.published = 0
        self.complete = 0

    @property
    def report(self) -> MerlinReport:
        return MerlinReport(
            run_uid=None if self._writer is None else self._writer.uid,
            acquisitions=self.acquisitions,
            frames=self.frames,
            published=self.published,
            missing=self._missing,
        )

    def take(self, message: Acquisition | MerlinFrame) -> None:
        if isinstance(message, Acquisition):
            self._begin(message.frames)
            return
        if self.acquisitions == 0:
            # Joined in the middle: the number of earlier frames is unknown.
            self._begin(None)
            self._last = message.number - 1
        if message.number <= self._last:
            # The count restarted without a header: another acquisition.
            self._begin(None)
        skipped = message.number - self._last - 1
        if skipped:
            logger.warning("frames %d to %d are missing", self._last + 1, message.number - 1)
            self._missing += skipped
        self._last = message.number
        if (message.number - 1) % self._every == 0:
            if self._writer is None:
                self._writer = PatternRunWriter(self._publish, self._source)
            facts = PatternFacts(
                visit=str(self.acquisitions), name=f"acquisition {self.acquisitions}, {message.number}"
            )
            self._writer.frame(message.counts, facts)
            self.published += 1
        self.frames += 1
        if self._announced is not None and message.number >= self._announced:
            self.complete += 1
            self._announced = None

    def end(self, problem: str | None) -> MerlinReport:
        self._close_acquisition()
        if self._writer is not None:
            self._writer.close("success" if problem is None else "fail", problem or "")
        if problem is not None:
            logger.error("the stream of frames ended: %s", problem)
        return self.report.model_copy(update={"problem": problem})

    def _begin(self, frames: int | None) -> None:
        self._close_acquisition()
        self.acquisitions += 1
        self._announced = frames
        self._last = 0

    def _close_acquisition(self) -> None:
        if self._announced is not None:
            self._missing += max(0, self._announced - self._last)
        self._announced = None
