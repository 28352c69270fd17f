"""What it takes to be told of results."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunResult


class SinkError(Exception):
    """A sink could not take a result now; the same revision will be offered again."""


class Sink(Protocol):
    """One way out for results. Used by one thread.

    Delivery is at least once: a result may come again with the same run uid, model id and revision, and must then
    mean nothing new.
    """

    @property
    def name(self) -> str:
        """One word, fit for a metric's label; the outbox is kept under it."""
        ...

    def publish(self, result: ScreeningResult) -> None:
        """Hand one result over.

        Raises
        ------
        SinkError
            Where it could not; nothing else is expected.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class PatternSink(Protocol):
    """What a sink may take besides: the verdicts on diffraction patterns, in the order in which they were stored."""

    def publish_pattern(self, result: PatternResult) -> None:
        """Hand over one pattern's record.

        Raises
        ------
        SinkError
            Where it could not; nothing else is expected.
        """
        ...

    def publish_pattern_run(self, result: PatternRunResult, particles: tuple[ParticleState, ...]) -> None:
        """Hand over the end of a run of patterns, with its particles.

        Raises
        ------
        SinkError
            Where it could not; nothing else is expected.
        """
        ...
